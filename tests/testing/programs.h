// Where the build put the programs that tests start as processes of their own. In a
// file by itself: with the paths on the command line of every test, none of them
// could be taken from a compiler's cache in another folder.
#pragma once

namespace ckpt::test {

extern const char* const kCkptd;
extern const char* const kCkptctl;

}  // namespace ckpt::test
