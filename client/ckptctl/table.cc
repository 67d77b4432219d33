#include "client/ckptctl/table.h"

#include <algorithm>

#include "proto/names.h"

namespace ckpt::ctl {
namespace {

constexpr size_t kMaxCellBytes = 4096;

void Pad(std::string& line, size_t n) { line.append(n, ' '); }

}  // namespace

size_t DisplayWidth(std::string_view text) {
  // Every byte but the continuation bytes of UTF-8 begins a character.
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void Table::Add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = Printable(cell, kMaxCellBytes);
  rows_.push_back(std::move(cells));
}

std::string Table::ToString() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = DisplayWidth(columns_[i].heading);
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[i]));
    widths.push_back(width);
  }
  std::string text;
  const auto add_line = [&](auto cell) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string& value = cell(i);
      const size_t padding = widths[i] - DisplayWidth(value);
      if (i > 0) Pad(line, 2);
      if (columns_[i].align == Align::kRight) Pad(line, padding);
      line += value;
      if (columns_[i].align == Align::kLeft) Pad(line, padding);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add_line([&](size_t i) -> const std::string& { return columns_[i].heading; });
  for (const auto& row : rows_) {
    add_line([&](size_t i) -> const std::string& { return row[i]; });
  }
  return text;
}

void Fields::Add(std::string name, std::string_view value) {
  fields_.emplace_back(std::move(name), Printable(value, kMaxCellBytes));
}

std::string Fields::ToString() const {
  size_t width = 0;
  for (const auto& [name, value] : fields_) width = std::max(width, DisplayWidth(name));
  std::string text;
  for (const auto& [name, value] : fields_) {
    std::string line = name + ":";
    Pad(line, width + 2 - DisplayWidth(name));
    text += line + value + "\n";
  }
  return text;
}

}  // namespace ckpt::ctl
