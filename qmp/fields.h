// SPDX-License-Identifier: Apache-2.0
// Reads the members of a JSON object, each checked.
#pragma once

#include <jansson.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"

namespace outrider::qmp {

/// One object. Invariant: what a read returns is worth nothing once there is a
/// fault; `result` sees to it, so that a caller may read on regardless.
class Fields {
 public:
  /// `subject` names the object in errors. No object is the first fault.
  Fields(const json_t* object, std::string subject);

  /// A whole number from `least` to `most`.
  std::int64_t count(
      const char* name, std::int64_t least = 0,
      std::int64_t most = std::numeric_limits<std::int64_t>::max());
  /// None: the member is not there.
  std::optional<std::int64_t> count_if_any(const char* name);
  /// None: not there, or -1, which is how 2^64 - 1 ("not given") was read.
  std::optional<std::int64_t> count_if_given(const char* name);
  /// Not negative.
  Bytes bytes(const char* name) { return Bytes{count(name)}; }
  /// Not empty.
  std::string text(const char* name);
  /// Empty: the member is not there.
  std::string text_or_empty(const char* name);
  /// true or false.
  bool flag(const char* name);
  /// A member that is an object; its faults are `take_fault`'s to hand up.
  Fields object(const char* name);
  /// A member that is an array of objects, likewise.
  std::vector<Fields> objects(const char* name);
  /// Whether there is such a member.
  bool has(const char* name) const;
  /// The member as it is, of this object; null: it is not there.
  const json_t* member(const char* name) const;

  /// A fault of the caller's finding: `what` is impossible.
  void refuse(const char* name, std::string_view what);
  /// Takes over the fault of a part.
  void take_fault(const Fields& part);

  /// The value, if there was no fault.
  /// Errors: EBADMSG, the first fault, by subject and member.
  template <class T>
  Result<T> result(T value) const {
    if (fault_.empty()) return value;
    return fail(kErrorCode, fault_);
  }

 private:
  static const int kErrorCode;  // EBADMSG

  const json_t* object_;
  std::string subject_;
  std::string fault_;  // the first; empty: none
};

/// The elements of an array, each an object.
/// Errors: EBADMSG.
Result<std::vector<Fields>> objects_of(const json_t* array,
                                       const std::string& subject);

}  // namespace outrider::qmp
