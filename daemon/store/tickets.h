// The text of a resume ticket's id, and the catalog's row behind it.
#pragma once

#include <cstdint>
#include <string>

namespace ckptd {

std::string TicketId(int64_t row);
// 0 for what is no ticket id.
int64_t TicketRowOf(const std::string& id);

}  // namespace ckptd
