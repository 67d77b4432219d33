// Aligned columns for people.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ckpt::ctl {

// Rows under a line of headings, two spaces between columns. Cells are made
// printable: what a daemon says cannot move the cursor.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string heading;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // One cell a column; missing ones are empty, further ones are an error of
  // the caller's and left out.
  void Add(std::vector<std::string> cells);
  size_t rows() const { return rows_.size(); }
  // Lines without trailing spaces, each ended by a newline.
  std::string ToString() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "Name:      value" lines, names padded to the longest.
class Fields {
 public:
  void Add(std::string name, std::string_view value);
  std::string ToString() const;

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

// Columns that `text` takes on a terminal, wide characters counted as one.
size_t DisplayWidth(std::string_view text);

}  // namespace ckpt::ctl
