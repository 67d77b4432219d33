// What gRPC alone can carry here: the ceiling that push and fetch are measured
// against.
#pragma once

#include <cstdint>

namespace ckpt::bench {

// GB/s (10^9 bytes) of one stream of 4 MiB frames over loopback TCP, with the
// settings of proto/channel.h and the same raw byte buffers as the bulk calls:
// sent from one buffer again and again, received and dropped. Server and client
// are threads of this process. `streams` streams share the bytes, each over a
// connection of its own. At least one frame a stream is sent. An error ends the
// process with a sentence.
double LoopbackRate(uint64_t bytes, int streams = 1);

}  // namespace ckpt::bench
