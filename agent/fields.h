// SPDX-License-Identifier: Apache-2.0
// Strict reading of one YAML file: what is not asked for, of another type or
// out of range is an error that names file, line, key and range.
//
//   auto fields = Fields::parse("outrider.yaml", text);
//   if (!fields) return pass(fields, "config");
//   config.tick_period = ms{fields->integer("tick_period_ms", {5, 60000}, 20)};
//   auto done = fields->finish();  // the first thing that was wrong, if any
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"

namespace outrider {

struct IntegerRange {
  std::int64_t min = 0;
  std::int64_t max = 0;
};

struct DurationRange {
  Duration min{};
  Duration max{};
};

struct NumberRange {
  double min = 0;
  double max = 0;
};

/// "500 ms", "5 s": whole milliseconds in the largest unit that they fill, as
/// Fields::duration reads them.
std::string written(Duration duration);

/// One mapping of a YAML file.
/// Invariant: remembers which keys were asked for, and the first error. After
/// an error every read gives its fallback; finish() tells.
class Fields {
 public:
  /// `name` is what messages call the file. Refused: more than 1 MiB, nesting
  /// deeper than 8, several documents, anchors, aliases, tags, duplicate keys,
  /// anything but a mapping (or nothing) at the top.
  static Result<Fields> parse(std::string name, std::string_view text);

  std::int64_t integer(std::string_view key, IntegerRange range,
                       std::int64_t fallback);
  /// A decimal fraction, as "0.85"; no exponent.
  double number(std::string_view key, NumberRange range, double fallback);
  bool boolean(std::string_view key, bool fallback);
  std::string text(std::string_view key, std::string_view fallback);
  /// The place of the value among `names`; `fallback` is such a place.
  std::size_t choice(std::string_view key,
                     std::span<const std::string_view> names,
                     std::size_t fallback);
  /// Likewise of each value of a list of at least one, in its order, none
  /// twice.
  std::vector<std::size_t> choices(std::string_view key,
                                   std::span<const std::string_view> names,
                                   std::vector<std::size_t> fallback);
  /// A whole number and its unit: "500 ms", "5 seconds", "1min", "1 h".
  Duration duration(std::string_view key, DurationRange range,
                    Duration fallback);
  /// Reads the mapping under `key`, if there is one, and finishes it.
  void section(std::string_view key, const std::function<void(Fields&)>& read);
  /// Likewise each mapping of the list under `key`, in order; messages call its
  /// keys "key[0].name". False: there is no such key.
  bool list(std::string_view key, std::size_t count_max,
            const std::function<void(Fields&)>& read);

  /// Whether the file has `key`; this does not ask for it.
  bool has(std::string_view key) const;
  /// Refuses a mapping without `key`: "missing".
  void require(std::string_view key);
  /// Refuses the value that `key` had: "want <want>, got <value>".
  void refuse(std::string_view key, std::string_view want);

  /// The first error; else a key that nobody asked for is one.
  Result<> finish();

 private:
  struct File {
    std::string name;
    bool failed = false;
    Error first;
  };

  Fields(std::shared_ptr<File> file, const YAML::Node& node,
         std::string prefix);
  YAML::Node find(std::string_view key) const;
  YAML::Node ask(std::string_view key);
  void read_inner(const YAML::Node& node, std::string_view path,
                  const std::function<void(Fields&)>& read);
  void blame(const YAML::Mark& mark, std::string_view key,
             std::string_view what);
  void want(const YAML::Node& node, std::string_view key,
            std::string_view wanted);

  std::shared_ptr<File> file_;  // shared with the sections
  YAML::Node node_;
  std::string prefix_;  // "control." for the keys of that section
  std::vector<std::string> asked_;
};

}  // namespace outrider
