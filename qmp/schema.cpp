// SPDX-License-Identifier: Apache-2.0
#include "qmp/schema.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

#include "qmp/fields.h"

namespace outrider::qmp {
namespace {

// The schema's types have names without meaning, e.g. "17".
using ObjectTypes = std::map<std::string, Fields*, std::less<>>;

Result<std::vector<std::string>> names_of(Fields& type) {
  std::vector<std::string> names;
  for (Fields& member : type.objects("members")) {
    names.push_back(member.text("name"));
    type.take_fault(member);
  }
  return type.result(std::move(names));
}

Result<std::vector<std::string>> arguments_of(Fields& command,
                                              const ObjectTypes& types) {
  const std::string name = command.text("arg-type");
  const auto type = types.find(name);
  if (type == types.end()) command.refuse("arg-type", "is no object's");
  auto fine = command.result(0);
  if (!fine) return tl::unexpected<Error>(std::move(fine.error()));
  return names_of(*type->second);
}

}  // namespace

Result<Schema> Schema::parse(const json_t* answer) {
  auto entries = objects_of(answer, "schema");
  if (!entries) return tl::unexpected<Error>(std::move(entries.error()));
  ObjectTypes types;
  for (Fields& entry : *entries)
    if (entry.text("meta-type") == "object")
      types.emplace(entry.text("name"), &entry);
  Schema schema;
  for (Fields& entry : *entries) {
    const std::string kind = entry.text("meta-type");
    auto name = entry.result(entry.text("name"));
    if (!name) return tl::unexpected<Error>(std::move(name.error()));
    if (kind == "event") schema.events_.push_back(*std::move(name));
    if (kind != "command") continue;
    auto arguments = arguments_of(entry, types);
    if (!arguments) return tl::unexpected<Error>(std::move(arguments.error()));
    schema.commands_.push_back({*std::move(name), *std::move(arguments)});
  }
  std::sort(schema.events_.begin(), schema.events_.end());
  std::sort(schema.commands_.begin(), schema.commands_.end(),
            [](const Command& a, const Command& b) { return a.name < b.name; });
  return schema;
}

const Schema::Command* Schema::find(std::string_view name) const {
  const auto at =
      std::lower_bound(commands_.begin(), commands_.end(), name,
                       [](const Command& c, std::string_view wanted) {
                         return c.name < wanted;
                       });
  return at != commands_.end() && at->name == name ? &*at : nullptr;
}

bool Schema::has_command(std::string_view name) const {
  return find(name) != nullptr;
}

bool Schema::has_argument(std::string_view command,
                          std::string_view name) const {
  const Command* const found = find(command);
  return found != nullptr &&
         std::find(found->arguments.begin(), found->arguments.end(), name) !=
             found->arguments.end();
}

bool Schema::has_event(std::string_view name) const {
  return std::binary_search(events_.begin(), events_.end(), name);
}

}  // namespace outrider::qmp
