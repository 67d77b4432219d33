// What the disk alone can do, and how to start each measurement from the same
// state of the page cache. Errors end the process with a sentence.
#pragma once

#include <cstdint>
#include <string>

namespace ckpt::bench {

// Writes back what is dirty on the file system of `directory` and lets go of
// the cached pages of all files below it, so that what is read next comes from
// the disk, and what is written next waits for nobody else's bytes.
void Settle(const std::string& directory);

// Seconds that fio takes to write (and sync), or read, `bytes` of `file` with
// direct I/O, 4 MiB at a time, 8 in flight. Reading needs the file written.
double RawWrite(const std::string& file, uint64_t bytes);
double RawRead(const std::string& file, uint64_t bytes);

// fsync of a file that is closed, and of its directory.
void SyncFile(const std::string& file);

}  // namespace ckpt::bench
