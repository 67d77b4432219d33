# Draws what ckpt_bench measured over the size of the state: how fast it is made
# durable, and how long training waits for it.
#
#   gnuplot -e "data='plot.dat'; taken='2026-01-01'" plot.gp > plot.svg
set terminal svg size 900,420 font "sans-serif,11" background "white"
set datafile missing "NaN"
set multiplot layout 1,2 title sprintf("measured %s", taken)
set logscale x 2
set xtics ("64 MiB" 64, "256 MiB" 256, "1 GiB" 1024, "8 GiB" 8192)
set xlabel "state"
set grid
set key outside below maxcols 2
set offsets graph 0.05, graph 0.05, 0, 0

set title "until durable"
set ylabel "GB/s"
set yrange [0:*]
plot data using 1:2 with linespoints dt 2 lc rgb "#888888" title "fio, direct write", \
     data using 1:3 with linespoints lw 2 lc rgb "#c03020" title "ckptd push", \
     data using 1:4 with linespoints title "torch::save + fsync", \
     data using 1:5 with linespoints title "Python torch.save + fsync", \
     data using 1:6 with linespoints title "rsync daemon", \
     data using 1:7 with linespoints title "nginx PUT + fsync"

set title "training waits"
set ylabel "seconds"
set logscale y
set yrange [*:*]
plot data using 1:10 with linespoints title "torch::save + fsync", \
     data using 1:8 with linespoints lw 2 lc rgb "#c03020" title "ckptd save", \
     data using 1:9 with linespoints dt 2 lc rgb "#888888" title "memcpy"
