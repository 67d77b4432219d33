// Whose turn it is on a processor that all want.
#pragma once

namespace ckpt {

// Lets the others go first: the calling thread, and the threads that it starts
// from then on, get the niceness `nice`, 0 to 19; 0 changes nothing. At 10 one gets
// a tenth of the time of one that has 0, where both want the processor, and all of
// it where none wants it. A thread that has this niceness, or a higher one, keeps
// it. The errno where the kernel refuses; 0.
int GiveWay(int nice);

}  // namespace ckpt
