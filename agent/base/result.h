// SPDX-License-Identifier: Apache-2.0
// Result<T>: what a call that asks the world returns. Broken invariants of our
// own are asserts instead; there is no third way.
//
//   auto dir = open_dir(path);
//   if (!dir) return pass(dir, "cgroup");  // "cgroup: open: /no/such/path"
#pragma once

#include <string>
#include <string_view>
#include <utility>

// tl::expected 1.0 is not [[nodiscard]]; an unchecked failed write is the one
// bug this agent must not have.
namespace tl {
template <class T, class E>
class [[nodiscard]] expected;
}
#include <tl/expected.hpp>

namespace outrider {

struct Error {
  int code = 0;      // errno of the failing call; 0 when no call is to blame
  std::string what;  // operation and subject, e.g. "write cpu.max: vm=web-3"
};

template <class T = void>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(int code, std::string what) {
  return tl::unexpected<Error>(Error{code, std::move(what)});
}

/// Hands a failure up with one more word of context.
template <class T>
tl::unexpected<Error> pass(Result<T>& failed, std::string_view doing) {
  Error error = std::move(failed.error());
  error.what.insert(0, ": ").insert(0, doing);
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace outrider
