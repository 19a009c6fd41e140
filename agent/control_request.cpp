// SPDX-License-Identifier: Apache-2.0
#include "agent/control_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "agent/log.h"

namespace outrider {
namespace {

constexpr std::size_t kShownMax = 64;  // bytes of a name in a message

Result<> check_value(const ControlArg& arg, const json_t* value) {
  if (arg.kind == ControlArg::Kind::kText) {
    if (json_is_string(value) && json_string_length(value) > 0) return {};
    return fail(0, fmt::format("{}: want a text", arg.name));
  }
  if (arg.kind == ControlArg::Kind::kFlag) {
    if (json_is_boolean(value)) return {};
    return fail(0, fmt::format("{}: want true or false", arg.name));
  }
  const json_int_t count = json_integer_value(value);
  if (json_is_integer(value) && count >= arg.min && count <= arg.max) return {};
  return fail(0, fmt::format("{}: want {}..{}", arg.name, arg.min, arg.max));
}

}  // namespace

Result<ControlRequest> ControlRequest::parse(std::string_view line) {
  if (line.size() > kRequestBytesMax)
    return fail(0, fmt::format("a request is one line of at most {} bytes",
                               kRequestBytesMax));
  json_error_t error{};
  Json json{
      json_loadb(line.data(), line.size(), JSON_REJECT_DUPLICATES, &error)};
  if (!json)
    return fail(0, fmt::format("not JSON: byte {}: {}", error.position,
                               escaped(error.text)));
  if (!json_is_string(json_object_get(json.get(), "verb")))
    return fail(0, "want an object like {\"verb\": \"status\"}");
  return ControlRequest{std::move(json)};
}

std::string_view ControlRequest::verb() const {
  const json_t* verb = json_object_get(json_.get(), "verb");
  return {json_string_value(verb), json_string_length(verb)};
}

Result<> ControlRequest::check(std::span<const ControlArg> args) const {
  for (void* at = json_object_iter(json_.get()); at != nullptr;
       at = json_object_iter_next(json_.get(), at)) {
    const std::string_view name = json_object_iter_key(at);
    if (name == "verb") continue;
    const auto arg = std::find_if(args.begin(), args.end(), [&](const auto& a) {
      return a.name == name;
    });
    if (arg == args.end())
      return fail(0, fmt::format("{} takes no {}", escaped(verb()),
                                 escaped(name.substr(0, kShownMax))));
    auto checked = check_value(*arg, json_object_iter_value(at));
    if (!checked) return checked;
  }
  for (const ControlArg& arg : args)
    if (arg.required &&
        json_object_get(json_.get(), std::string(arg.name).c_str()) == nullptr)
      return fail(0, fmt::format("{} needs {}", escaped(verb()), arg.name));
  return {};
}

std::optional<std::string> ControlRequest::text(const char* name) const {
  const json_t* value = json_object_get(json_.get(), name);
  if (!json_is_string(value)) return std::nullopt;
  return std::string(json_string_value(value), json_string_length(value));
}

std::optional<std::int64_t> ControlRequest::count(const char* name) const {
  const json_t* value = json_object_get(json_.get(), name);
  if (!json_is_integer(value)) return std::nullopt;
  return json_integer_value(value);
}

bool ControlRequest::flag(const char* name) const {
  return json_is_true(json_object_get(json_.get(), name));
}

}  // namespace outrider
