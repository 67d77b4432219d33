// The names of what is measured. Unless one says otherwise, the bytes are new
// random floats, "durable" is synced to disk, and time begins with the state in
// the trainer's memory (of peers that take files: in a file in memory).
#pragma once

namespace ckpt::bench {

// The limits.
inline constexpr char kRawWrite[] = "fio: write, direct, synced";
inline constexpr char kRawRead[] = "fio: read, direct";
inline constexpr char kLoopback[] = "gRPC alone: one stream over loopback";
inline constexpr char kCopy[] = "memcpy, one thread, into touched huge pages";

// Saving.
inline constexpr char kPush[] = "ckptd: push until durable";
inline constexpr char kTorchSave[] = "torch::save + fsync";
inline constexpr char kPythonSave[] = "Python torch.save + fsync";
inline constexpr char kRsync[] = "rsync daemon, --whole-file --fsync";
inline constexpr char kNginxPut[] = "nginx PUT, then fsync";
inline constexpr char kStall[] = "ckptd: training waits for a save";
inline constexpr char kEightPush[] = "ckptd: 8 runs push at once, until durable";

// Sharing: the first tenth of the bytes is new.
inline constexpr char kPushTenth[] = "ckptd: push with 10 % changed, until durable";
inline constexpr char kRestic[] = "restic: backup with 10 % changed";
inline constexpr char kBorg[] = "borg: backup with 10 % changed";

// Loading.
inline constexpr char kFetchCold[] = "ckptd: fetch from cold disk, digests checked";
inline constexpr char kFetchWarm[] = "ckptd: fetch from page cache, digests checked";
inline constexpr char kFetchOne[] = "ckptd: 1 worker fetches from page cache";
inline constexpr char kFetchEight[] = "ckptd: 8 workers fetch the same from page cache";
inline constexpr char kFetchSixteen[] = "ckptd: 16 workers fetch the same from page cache";
inline constexpr char kTorchLoad[] = "torch::load from cold disk";
inline constexpr char kPythonLoad[] = "Python torch.load from cold disk";
inline constexpr char kNginxGet[] = "nginx GET from page cache, nothing checked";

// Training.
inline constexpr char kSteps[] = "20 training steps on one thread, no save";
inline constexpr char kStepsWithSave[] =
    "20 training steps on one thread, a save at their beginning";

}  // namespace ckpt::bench
