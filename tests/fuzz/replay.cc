// Runs a fuzz target over its corpus, and over inputs that differ from it a
// little, the same ones each time: what the suite does of fuzzing.
//
//   fuzz_TARGET CORPUS_DIR [CHANGED_INPUTS]
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Input = std::vector<uint8_t>;

Input Changed(Input input, const std::vector<Input>& corpus, std::mt19937_64& random) {
  for (uint64_t changes = 1 + random() % 4; changes > 0; --changes) {
    const size_t at = input.empty() ? 0 : random() % input.size();
    const auto here = input.begin() + static_cast<long>(at);
    switch (random() % 5) {
      case 0:
        if (!input.empty()) *here ^= static_cast<uint8_t>(1 << random() % 8);
        break;
      case 1:
        if (!input.empty()) *here = static_cast<uint8_t>(random());
        break;
      case 2:
        input.insert(here, 1 + random() % 8, static_cast<uint8_t>(random()));
        break;
      case 3:
        input.erase(here, here + static_cast<long>(std::min<size_t>(input.size() - at,
                                                                    1 + random() % 16)));
        break;
      default: {
        const Input& other = corpus[random() % corpus.size()];
        const size_t from = other.empty() ? 0 : random() % other.size();
        const size_t length = std::min<size_t>(other.size() - from, 64);
        input.insert(here, other.begin() + static_cast<long>(from),
                     other.begin() + static_cast<long>(from + length));
      }
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "wrong use: " << argv[0] << " CORPUS_DIR [CHANGED_INPUTS]\n";
    return 2;
  }
  std::vector<std::filesystem::path> paths;
  for (const auto& file : std::filesystem::directory_iterator(argv[1])) {
    paths.push_back(file.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Input> corpus;
  for (const auto& path : paths) {
    std::ifstream in(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  if (corpus.empty()) {
    std::cerr << argv[1] << " has no inputs\n";
    return 1;
  }
  for (const Input& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());
  std::mt19937_64 random(1);
  const long changed = argc > 2 ? std::atol(argv[2]) : 5000;
  for (long i = 0; i < changed; ++i) {
    const Input input = Changed(corpus[random() % corpus.size()], corpus, random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::cout << corpus.size() << " inputs and " << changed << " like them\n";
  return 0;
}
