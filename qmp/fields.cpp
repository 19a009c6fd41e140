// SPDX-License-Identifier: Apache-2.0
#include "qmp/fields.h"

#include <cerrno>

namespace outrider::qmp {

const int Fields::kErrorCode = EBADMSG;

Fields::Fields(const json_t* object, std::string subject)
    : object_(object), subject_(std::move(subject)) {
  if (!json_is_object(object_)) fault_ = subject_ + ": want an object";
}

bool Fields::has(const char* name) const { return member(name) != nullptr; }

const json_t* Fields::member(const char* name) const {
  return json_object_get(object_, name);
}

void Fields::refuse(const char* name, std::string_view what) {
  if (!fault_.empty()) return;
  fault_ = subject_ + ": " + name + ": ";
  fault_ += what;
}

void Fields::take_fault(const Fields& part) {
  if (fault_.empty()) fault_ = part.fault_;
}

std::int64_t Fields::count(const char* name, std::int64_t least,
                           std::int64_t most) {
  const json_t* const value = member(name);
  if (!json_is_integer(value)) {
    refuse(name, "want a whole number");
    return least;
  }
  const std::int64_t number = json_integer_value(value);
  if (number < least || number > most) {
    refuse(name, "want " + std::to_string(least) + ".." + std::to_string(most) +
                     ", got " + std::to_string(number));
    return least;
  }
  return number;
}

std::optional<std::int64_t> Fields::count_if_any(const char* name) {
  if (!has(name)) return std::nullopt;
  return count(name);
}

std::optional<std::int64_t> Fields::count_if_given(const char* name) {
  if (!has(name)) return std::nullopt;
  const std::int64_t number = count(name, -1);
  if (number == -1) return std::nullopt;
  return number;
}

std::string Fields::text(const char* name) {
  const json_t* const value = member(name);
  if (!json_is_string(value) || json_string_length(value) == 0) {
    refuse(name, "want a text");
    return {};
  }
  return {json_string_value(value), json_string_length(value)};
}

std::string Fields::text_or_empty(const char* name) {
  if (!has(name)) return {};
  return text(name);
}

bool Fields::flag(const char* name) {
  const json_t* const value = member(name);
  if (!json_is_boolean(value)) refuse(name, "want true or false");
  return json_is_true(value);
}

Fields Fields::object(const char* name) {
  Fields part{member(name), subject_ + ": " + name};
  take_fault(part);
  return part;
}

std::vector<Fields> Fields::objects(const char* name) {
  auto parts = objects_of(member(name), subject_ + ": " + name);
  if (parts) return *std::move(parts);
  if (fault_.empty()) fault_ = parts.error().what;
  return {};
}

Result<std::vector<Fields>> objects_of(const json_t* array,
                                       const std::string& subject) {
  if (!json_is_array(array)) return fail(EBADMSG, subject + ": want an array");
  std::vector<Fields> elements;
  elements.reserve(json_array_size(array));
  for (std::size_t i = 0; i < json_array_size(array); ++i) {
    elements.emplace_back(json_array_get(array, i),
                          subject + "[" + std::to_string(i) + "]");
  }
  return elements;
}

}  // namespace outrider::qmp
