// SPDX-License-Identifier: Apache-2.0
#include "agent/fields.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include "agent/log.h"

namespace outrider {
namespace {

constexpr std::size_t kBytesMax = std::size_t{1} << 20;
constexpr std::size_t kDepthMax = 8;
constexpr std::size_t kShownMax = 64;  // bytes of a value in a message

struct DurationUnit {
  std::string_view name;   // as it is written
  std::string_view words;  // likewise accepted, with or without its last letter
  Duration length;
};
// Rising.
constexpr std::array<DurationUnit, 4> kDurationUnits = {{
    {"ms", "milliseconds", std::chrono::milliseconds{1}},
    {"s", "seconds", std::chrono::seconds{1}},
    {"min", "minutes", std::chrono::minutes{1}},
    {"h", "hours", std::chrono::hours{1}},
}};

struct Finding {
  YAML::Mark mark;
  std::string what;
};

// What YAML allows and a configuration does not need. yaml-cpp resolves
// aliases and takes equal keys in silence, so this looks at the parser's
// events; deriving is that library's way to get them.
class StrictEvents final : public YAML::EventHandler {
 public:
  const std::optional<Finding>& finding() const { return finding_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    value(mark, "?", anchor, "");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    find(mark, "an alias is not accepted: write the value out");
    value(mark, "?", 0, "");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag,
                YAML::anchor_t anchor, const std::string& text) override {
    value(mark, tag, anchor, text);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag,
                       YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    value(mark, tag, anchor, "");
    open(mark, {});
  }
  void OnSequenceEnd() override { levels_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag,
                  YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    value(mark, tag, anchor, "");
    Level level;
    level.is_map = true;
    open(mark, std::move(level));
  }
  void OnMapEnd() override { levels_.pop_back(); }

 private:
  struct Level {
    bool is_map = false;
    bool at_value = false;  // a map's key has been read, its value not
    std::set<std::string> keys;
  };

  void find(const YAML::Mark& mark, std::string what) {
    if (!finding_) finding_ = Finding{mark, std::move(what)};
  }

  void open(const YAML::Mark& mark, Level level) {
    levels_.push_back(std::move(level));
    if (levels_.size() > kDepthMax)
      find(mark, fmt::format("nested deeper than {}", kDepthMax));
  }

  void value(const YAML::Mark& mark, const std::string& tag,
             YAML::anchor_t anchor, const std::string& text) {
    if (anchor != 0) find(mark, "an anchor is not accepted");
    if (!tag.empty() && tag != "?" && tag != "!")
      find(mark, "a tag is not accepted");
    if (levels_.empty() || !levels_.back().is_map) return;
    Level& level = levels_.back();
    level.at_value = !level.at_value;
    if (level.at_value && !level.keys.insert(text).second)
      find(mark, fmt::format("{}: this key is given twice", escaped(text)));
  }

  std::vector<Level> levels_;
  std::optional<Finding> finding_;
};

std::string located(std::string_view file, const YAML::Mark& mark,
                    std::string_view what) {
  return fmt::format("{}:{}: {}", file, mark.line + 1, what);
}

std::string shown(const YAML::Node& node) {
  if (node.IsMap()) return "a mapping";
  if (node.IsSequence()) return "a list";
  if (!node.IsScalar() || node.Scalar().empty()) return "nothing";
  const std::string& value = node.Scalar();
  std::string cut = escaped(std::string_view{value}.substr(0, kShownMax));
  if (value.size() > kShownMax) cut += "...";
  return node.Tag() == "!" ? '"' + cut + '"' : cut;
}

bool is_plain(const YAML::Node& node) {
  return node.IsScalar() && node.Tag() == "?";  // "!": it was in quotes
}

bool names(std::string_view unit, const DurationUnit& known) {
  return unit == known.name || unit == known.words ||
         unit == known.words.substr(0, known.words.size() - 1);
}

std::optional<Duration> parse_duration(std::string_view text,
                                       DurationRange range) {
  const char* end = text.data() + text.size();
  std::int64_t count = 0;
  const auto number = std::from_chars(text.data(), end, count);
  if (number.ec != std::errc{} || count < 0) return std::nullopt;
  std::string_view unit =
      text.substr(static_cast<std::size_t>(number.ptr - text.data()));
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  for (const DurationUnit& known : kDurationUnits) {
    if (!names(unit, known) || count > range.max / known.length) continue;
    const Duration duration = known.length * count;
    if (duration >= range.min) return duration;
  }
  return std::nullopt;
}

// Levenshtein's distance, by rows.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// "tick_period_ms" for "tick_period_s"; nothing if no key is near.
std::string did_you_mean(std::string_view key,
                         const std::vector<std::string>& keys) {
  if (key.size() > kShownMax || keys.empty()) return "";
  const auto nearest =
      std::min_element(keys.begin(), keys.end(), [&](const auto& a, auto& b) {
        return distance(key, a) < distance(key, b);
      });
  if (distance(key, *nearest) > std::max<std::size_t>(2, key.size() / 3))
    return "";
  return fmt::format("; did you mean {}?", *nearest);
}

// Throws what yaml-cpp throws.
Result<YAML::Node> load(const std::string& name, const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  StrictEvents events;
  const bool any = parser.HandleNextDocument(events);
  StrictEvents more;
  if (any && !events.finding() && parser.HandleNextDocument(more))
    return fail(0, fmt::format("{}: more than one document", name));
  if (events.finding())
    return fail(0,
                located(name, events.finding()->mark, events.finding()->what));
  return YAML::Load(text);
}

}  // namespace

std::string written(Duration duration) {
  DurationUnit unit = kDurationUnits.front();
  for (const DurationUnit& each : kDurationUnits)
    if (duration % each.length == Duration::zero()) unit = each;
  return fmt::format("{} {}", duration / unit.length, unit.name);
}

Fields::Fields(std::shared_ptr<File> file, const YAML::Node& node,
               std::string prefix)
    : file_(std::move(file)), node_(node), prefix_(std::move(prefix)) {}

Result<Fields> Fields::parse(std::string name, std::string_view text) {
  if (text.size() > kBytesMax)
    return fail(0, fmt::format("{}: more than {} bytes", name, kBytesMax));
  if (text.find('\0') != std::string_view::npos)
    return fail(0, fmt::format("{}: a NUL byte: this is no text", name));
  try {
    auto node = load(name, std::string(text));
    if (!node) return tl::unexpected<Error>(std::move(node.error()));
    if (!node->IsNull() && !node->IsMap())
      return fail(0, located(name, node->Mark(), "want `key: value` lines"));
    return Fields{std::make_shared<File>(File{std::move(name), false, {}}),
                  *std::move(node), ""};
  } catch (const YAML::Exception& error) {
    return fail(0, located(name, error.mark, escaped(error.msg)));
  }
}

YAML::Node Fields::find(std::string_view key) const {
  if (file_->failed || !node_.IsMap())
    return YAML::Node{YAML::NodeType::Undefined};
  // Not node_[key]: that would create the key.
  for (const auto& pair : node_)
    if (pair.first.IsScalar() && pair.first.Scalar() == key) return pair.second;
  return YAML::Node{YAML::NodeType::Undefined};
}

YAML::Node Fields::ask(std::string_view key) {
  asked_.emplace_back(key);
  return find(key);
}

bool Fields::has(std::string_view key) const { return find(key).IsDefined(); }

void Fields::require(std::string_view key) {
  if (node_.IsDefined() && !has(key)) blame(node_.Mark(), key, "missing");
}

void Fields::blame(const YAML::Mark& mark, std::string_view key,
                   std::string_view what) {
  if (std::exchange(file_->failed, true)) return;
  file_->first = Error{0, located(file_->name, mark,
                                  fmt::format("{}{}: {}", prefix_, key, what))};
}

void Fields::want(const YAML::Node& node, std::string_view key,
                  std::string_view wanted) {
  blame(node.Mark(), key, fmt::format("want {}, got {}", wanted, shown(node)));
}

std::int64_t Fields::integer(std::string_view key, IntegerRange range,
                             std::int64_t fallback) {
  const YAML::Node node = ask(key);
  if (!node.IsDefined()) return fallback;
  std::int64_t value = 0;
  if (is_plain(node)) {
    const std::string& text = node.Scalar();
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc{} && end == text.data() + text.size() &&
        value >= range.min && value <= range.max)
      return value;
  }
  want(node, key, fmt::format("{}..{}", range.min, range.max));
  return fallback;
}

double Fields::number(std::string_view key, NumberRange range,
                      double fallback) {
  const YAML::Node node = ask(key);
  if (!node.IsDefined()) return fallback;
  double value = 0;
  if (is_plain(node)) {
    const std::string& text = node.Scalar();
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), value,
                        std::chars_format::fixed);
    if (error == std::errc{} && end == text.data() + text.size() &&
        value >= range.min && value <= range.max)
      return value;
  }
  want(node, key, fmt::format("{}..{}", range.min, range.max));
  return fallback;
}

bool Fields::boolean(std::string_view key, bool fallback) {
  const YAML::Node node = ask(key);
  if (!node.IsDefined()) return fallback;
  if (is_plain(node) && node.Scalar() == "true") return true;
  if (is_plain(node) && node.Scalar() == "false") return false;
  want(node, key, "true or false");
  return fallback;
}

std::string Fields::text(std::string_view key, std::string_view fallback) {
  const YAML::Node node = ask(key);
  if (!node.IsDefined()) return std::string(fallback);
  if (node.IsScalar() && !node.Scalar().empty()) return node.Scalar();
  want(node, key, "a text");
  return std::string(fallback);
}

std::size_t Fields::choice(std::string_view key,
                           std::span<const std::string_view> names,
                           std::size_t fallback) {
  const YAML::Node node = ask(key);
  if (!node.IsDefined()) return fallback;
  if (node.IsScalar()) {
    const auto found = std::find(names.begin(), names.end(), node.Scalar());
    if (found != names.end())
      return static_cast<std::size_t>(found - names.begin());
  }
  want(node, key, fmt::format("one of {}", fmt::join(names, ", ")));
  return fallback;
}

std::vector<std::size_t> Fields::choices(
    std::string_view key, std::span<const std::string_view> names,
    std::vector<std::size_t> fallback) {
  const YAML::Node node = ask(key);
  if (!node.IsDefined()) return fallback;
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; node.IsSequence() && i < node.size(); ++i) {
    const YAML::Node entry = node[i];
    const auto found =
        std::find(names.begin(), names.end(),
                  entry.IsScalar() ? std::string_view{entry.Scalar()} : "");
    const auto place = static_cast<std::size_t>(found - names.begin());
    const bool is_new =
        std::find(chosen.begin(), chosen.end(), place) == chosen.end();
    if (found == names.end() || !is_new) {
      want(entry, key,
           fmt::format("each of {} once at most", fmt::join(names, ", ")));
      return fallback;
    }
    chosen.push_back(place);
  }
  if (!chosen.empty()) return chosen;
  want(node, key, fmt::format("a list of {}", fmt::join(names, ", ")));
  return fallback;
}

Duration Fields::duration(std::string_view key, DurationRange range,
                          Duration fallback) {
  const YAML::Node node = ask(key);
  if (!node.IsDefined()) return fallback;
  if (node.IsScalar()) {
    const auto duration = parse_duration(node.Scalar(), range);
    if (duration) return *duration;
  }
  want(node, key,
       fmt::format("a time of {}..{}", written(range.min), written(range.max)));
  return fallback;
}

void Fields::read_inner(const YAML::Node& node, std::string_view path,
                        const std::function<void(Fields&)>& read) {
  if (node.IsDefined() && !node.IsMap()) {
    want(node, path, "indented `key: value` lines");
    return;
  }
  Fields inner{file_, node, fmt::format("{}{}.", prefix_, path)};
  read(inner);
  (void)inner.finish();  // the file keeps the error, the outer finish() tells
}

void Fields::section(std::string_view key,
                     const std::function<void(Fields&)>& read) {
  read_inner(ask(key), key, read);
}

bool Fields::list(std::string_view key, std::size_t count_max,
                  const std::function<void(Fields&)>& read) {
  const YAML::Node node = ask(key);
  if (!node.IsDefined()) return false;
  if (!node.IsSequence()) {
    want(node, key, "a list of `- key: value` lines");
  } else if (node.size() > count_max) {
    blame(
        node.Mark(), key,
        fmt::format("want at most {} entries, got {}", count_max, node.size()));
  }
  for (std::size_t i = 0; !file_->failed && i < node.size(); ++i)
    read_inner(node[i], fmt::format("{}[{}]", key, i), read);
  return true;
}

void Fields::refuse(std::string_view key, std::string_view wanted) {
  const YAML::Node node = ask(key);
  if (node.IsDefined()) want(node, key, wanted);
}

Result<> Fields::finish() {
  if (!file_->failed && node_.IsDefined() && node_.IsMap()) {
    for (const auto& pair : node_) {
      const std::string key =
          pair.first.IsScalar() ? pair.first.Scalar() : shown(pair.first);
      if (std::find(asked_.begin(), asked_.end(), key) != asked_.end())
        continue;
      blame(pair.first.Mark(), escaped(key.substr(0, kShownMax)),
            "unknown key" + did_you_mean(key, asked_));
    }
  }
  if (file_->failed) return tl::unexpected<Error>(file_->first);
  return {};
}

}  // namespace outrider
