// How a call that changes something is made once, however often it is sent: its
// answer is remembered in the transaction that has its effect.
#pragma once

#include <functional>
#include <string>

#include "daemon/catalog/answers.h"

namespace ckptd {

using RequestKey = catalog::RequestKey;

// What a call that only succeeds or fails has to say.
struct Done {};

// The last argument of a mutating call of the store. Left out, or without a
// request id: nothing is remembered.
template <typename Result>
struct Once {
  RequestKey request;
  // The answer as it is to be given again.
  std::function<std::string(const Result&)> answer;
};

}  // namespace ckptd
