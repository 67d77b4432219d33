#include "client/state.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

namespace ckpt {
namespace {

TEST(State, GivesEntriesInOrderWithTheirLengths) {
  const float weights[6] = {};
  State state;
  state.AddTensor("model/w", DType::kF32, {2, 3}, weights);
  state.AddBytes("note", "hello");
  state.AddBytes("empty", "");
  state.AddBytesView("view", weights, 4);
  state.AddTensor("model/none", DType::kF32, {0, 3}, nullptr);
  const auto entries = ManifestEntries(state);
  ASSERT_TRUE(entries.ok()) << entries.status();
  std::vector<std::pair<std::string, uint64_t>> seen;
  for (const Entry& entry : *entries) seen.emplace_back(entry.name, entry.length);
  EXPECT_EQ(seen, (std::vector<std::pair<std::string, uint64_t>>{
                      {"model/w", 24}, {"note", 5}, {"empty", 0}, {"view", 4}, {"model/none", 0}}));
}

TEST(State, RefusesAnEntryWithoutItsBytes) {
  State no_data, negative;
  no_data.AddTensor("w", DType::kF32, {2}, nullptr);
  negative.AddTensor("w", DType::kF32, {-2}, "");
  for (const State* state : {&no_data, &negative}) {
    const absl::Status status = ManifestEntries(*state).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(status.message()).find("entry w"), std::string::npos) << status;
  }
}

TEST(State, CopiesFromViewOwnedAndFunction) {
  State state;
  state.AddBytesView("view", "abc", 3);
  state.AddBytes("owned", "def");
  state.Add({.name = "function", .length = 3, .copy = [](std::span<std::byte> into) {
               std::memcpy(into.data(), "ghi", into.size());
               return absl::OkStatus();
             }});
  std::string all;
  for (const StateEntry& entry : state.entries()) {
    std::string bytes(3, ' ');
    ASSERT_TRUE(CopyOut(entry, std::as_writable_bytes(std::span(bytes))).ok());
    all += bytes;
  }
  EXPECT_EQ(all, "abcdefghi");
}

TEST(StateDocument, DoublesReadBackToTheSameBits) {
  const double kValues[] = {0.0,
                            -0.0,
                            0.1,
                            1.0,
                            1e-3,
                            1.0 / 3,
                            5e-324,
                            1.7976931348623157e308,
                            std::numeric_limits<double>::infinity(),
                            -std::numeric_limits<double>::infinity(),
                            123456789012345680.0};
  for (const double value : kValues) {
    const std::string text = DumpStateDocument(
        {{"format", kStateFormat}, {"objects", {{"lr", {{"value", DoubleToJson(value)}}}}}});
    const auto document = ParseStateDocument(text);
    ASSERT_TRUE(document.ok()) << text;
    const auto back = DoubleFromJson((*document)["objects"]["lr"]["value"]);
    ASSERT_TRUE(back.has_value()) << text;
    EXPECT_EQ(std::bit_cast<uint64_t>(*back), std::bit_cast<uint64_t>(value)) << text;
  }
  EXPECT_TRUE(std::isnan(*DoubleFromJson(DoubleToJson(std::nan("")))));
  EXPECT_FALSE(DoubleFromJson("nan").has_value());
  EXPECT_FALSE(DoubleFromJson({{"$float", 3}}).has_value());
}

TEST(StateDocument, RefusesWhatItIsNot) {
  for (const char* text : {"", "{", "[]", "{}", "{\"format\":3}", "{\"format\":\"ckpt.state.v9\"}",
                           "{\"format\":\"ckpt.state.v1\"}", "\xff\xfe"}) {
    EXPECT_EQ(ParseStateDocument(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace ckpt
