// What the disk alone can do, and how to start each measurement from the same
// state of the page cache. Errors end the process with a sentence.
#pragma once

#include <cstdint>
#include <string>

namespace ckpt::bench {

// Writes back what is dirty on the file system of `directory` (what was removed
// is discarded by that, too) and lets go of the cached pages of all files below
// it, so that what is read next comes from the disk, and what is written next
// waits for nobody else's bytes.
void Settle(const std::string& directory);

// Seconds that fio takes to write (and sync) a new file of `bytes`, or to read
// it, with direct I/O through io_uring, 2 MiB at a time, 8 in flight. Reading
// needs the file written.
double RawWrite(const std::string& file, uint64_t bytes);
double RawRead(const std::string& file, uint64_t bytes);

// fsync of a file that is closed, and of its directory.
void SyncFile(const std::string& file);

// What `du` counts below `directory`.
uint64_t DiskBytes(const std::string& directory);

}  // namespace ckpt::bench
