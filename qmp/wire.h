// SPDX-License-Identifier: Apache-2.0
// Bytes to lines to messages, and commands to bytes. Pure.
//
// The protocol: QEMU, docs/interop/qmp-spec.
#pragma once

#include <jansson.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agent/base/result.h"

namespace outrider::qmp {

/// The longest line, or block of lines, that is read. QEMU 7.2's own longest,
/// the answer to query-qmp-schema, has 207,000 bytes.
inline constexpr std::size_t kLineBytesMax = std::size_t{1} << 20;

/// The most values of one line: four times those of QEMU 7.2's schema. Jansson
/// spends up to some 300 bytes on each, however short its text.
inline constexpr std::size_t kLineValuesMax = std::size_t{1} << 16;

struct Decref {
  void operator()(json_t* json) const { json_decref(json); }
};
using Json = std::unique_ptr<json_t, Decref>;

/// Cuts a stream into lines; a block that -qmp-pretty spread over lines, from
/// "{" to "}" at the left margin, counts as one.
/// Invariant: keeps at most kLineBytesMax; between long lines, next to nothing.
class LineReader {
 public:
  /// Goes on with `bytes`, which must stay until `next` has said that there is
  /// no more. Not before it has.
  void feed(std::string_view bytes);
  /// The next line without its end; it stays until the next call. None: what
  /// remained is kept, to be gone on with.
  /// Errors: a line of more than kLineBytesMax; then only `reset` helps.
  Result<std::optional<std::string_view>> next();
  /// Forgets what is kept and what was fed.
  void reset();
  /// Bytes of memory that are held.
  std::size_t memory() const { return kept_.capacity(); }

 private:
  Result<> keep(std::string_view piece);
  void drop_given();
  bool is_whole() const;

  std::vector<char> kept_;  // a string would double beyond the limit
  std::string_view fed_;
  bool given_ = false;  // kept_ is the line that `next` returned
};

/// What QEMU says first.
struct Greeting {
  std::string version;      // e.g. "7.2.22 (Debian 1:7.2+dfsg-7)": for people
  bool offers_oob = false;  // out-of-band execution
};
struct Return {
  std::int64_t id = 0;
  Json value;  // never null
};
struct Failure {
  std::int64_t id = 0;
  std::string error_class;  // e.g. "DeviceNotFound"; mostly "GenericError"
  std::string description;  // for people
};
struct Event {
  std::string name;
  Json data;                      // null: there was none
  std::int64_t seconds = 0;       // since 1970; -1: QEMU does not know
  std::int64_t microseconds = 0;  // of that second
};
using Message = std::variant<Greeting, Return, Failure, Event>;

/// Reads one line. QEMU writes unsigned numbers of 64 bits, which Jansson does
/// not take: those above 2^63 - 1 come out as the negative number of the same
/// bits, 2^64 - 1 ("not given") as -1. No figure of QMP that we read is
/// negative otherwise, so that one that large is found out by who reads it.
/// Errors: no JSON, a duplicate key, NUL, nested more than 2,048 deep, more
/// than kLineValuesMax values, not an object, none of the four shapes, an id
/// that is no integer. The text may hold bytes of the line: escape it.
Result<Message> parse_message(std::string_view line);

/// One command, ready to be sent. `arguments` may be null: none.
/// Errors: what is no UTF-8 or no object.
Result<std::string> encode_command(const std::string& name,
                                   const json_t* arguments, std::int64_t id);

/// How the line that `encode_command` gives begins, for any id: the text up to
/// the id, which "}" and a line's end follow.
/// Errors: likewise.
Result<std::string> encode_command_head(const std::string& name,
                                        const json_t* arguments);

}  // namespace outrider::qmp
