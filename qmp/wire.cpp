// SPDX-License-Identifier: Apache-2.0
#include "qmp/wire.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <utility>

namespace outrider::qmp {
namespace {

constexpr std::size_t kKeptWhenIdle = std::size_t{4} << 10;  // bytes

std::string_view without_end(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool opens_block(std::string_view line) { return without_end(line) == "{"; }

std::string quoted(std::string_view text) {
  return "'" + std::string(text.substr(0, 64)) + "'";
}

// --- Numbers that Jansson does not take
// ---------------------------------------

bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

/// The number of `digits` as an int64 of the same bits; none: it fits anyway,
/// or not even 64 bits hold it.
std::optional<std::int64_t> wrapped(std::string_view digits) {
  std::uint64_t number = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc{} || number >> 63 == 0) return std::nullopt;
  return std::bit_cast<std::int64_t>(number);
}

/// Looks at a line byte by byte, as Jansson does not show what it will cost.
class Scan {
 public:
  explicit Scan(std::string_view line) : line_(line) {}

  /// Passes over the line.
  void run() {
    while (at_ < line_.size()) {
      const char byte = line_[at_];
      if (byte == '"') {
        skip_text();
      } else if (is_digit(byte)) {
        take_number();
      } else {
        if (byte == ',' || byte == '[' || byte == '{') ++values_;
        ++at_;
      }
    }
  }
  std::size_t values() const { return values_; }
  /// The line with each number that was too large in its signed form; none:
  /// there was no such number.
  std::optional<std::string> rewritten() && {
    if (copied_ == 0) return std::nullopt;
    text_.append(line_.substr(copied_));
    return std::move(text_);
  }

 private:
  void skip_text() {
    ++at_;
    while (at_ < line_.size() && line_[at_] != '"') {
      at_ += line_[at_] == '\\' ? 2 : 1;
    }
    ++at_;
  }

  void take_number() {
    constexpr std::size_t kDigitsOf2To63 = 19;
    const std::size_t begin = at_;
    while (at_ < line_.size() && is_digit(line_[at_])) ++at_;
    if (at_ - begin < kDigitsOf2To63) return;
    // A part of "-1", "1.5" or "1e5" is no number of its own.
    const bool is_part =
        (begin > 0 && std::string_view("-+.eE").find(line_[begin - 1]) !=
                          std::string_view::npos) ||
        (at_ < line_.size() &&
         std::string_view(".eE").find(line_[at_]) != std::string_view::npos);
    const auto number = wrapped(line_.substr(begin, at_ - begin));
    if (is_part || !number) return;
    text_.append(line_.substr(copied_, begin - copied_));
    text_ += std::to_string(*number);
    copied_ = at_;
  }

  std::string_view line_;
  std::size_t at_ = 0;
  std::size_t values_ = 1;
  std::size_t copied_ = 0;  // bytes of line_ that text_ stands for
  std::string text_;
};

// --- The four shapes
// ----------------------------------------------------------

std::string text_of(const json_t* text) {
  return {json_string_value(text), json_string_length(text)};
}

Result<std::int64_t> id_of(const json_t* line) {
  const json_t* id = json_object_get(line, "id");
  if (id == nullptr) return fail(0, "no id");
  if (!json_is_integer(id)) return fail(0, "id: want an integer");
  return json_integer_value(id);
}

std::string version_of(const json_t* version) {
  const json_t* qemu = json_object_get(version, "qemu");
  std::string text;
  for (const char* part : {"major", "minor", "micro"}) {
    if (!text.empty()) text += '.';
    text += std::to_string(json_integer_value(json_object_get(qemu, part)));
  }
  const json_t* package = json_object_get(version, "package");
  if (json_is_string(package) && json_string_length(package) > 0)
    text += " (" + text_of(package).substr(0, 128) + ")";
  return text;
}

Result<Message> greeting_of(const json_t* greeting) {
  const json_t* version = json_object_get(greeting, "version");
  const json_t* capabilities = json_object_get(greeting, "capabilities");
  if (!json_is_object(json_object_get(version, "qemu")))
    return fail(0, "greeting: no version of QEMU");
  if (!json_is_array(capabilities))
    return fail(0, "greeting: capabilities: want an array");
  Greeting result{.version = version_of(version)};
  for (std::size_t i = 0; i < json_array_size(capabilities); ++i) {
    const json_t* name = json_array_get(capabilities, i);
    if (!json_is_string(name))
      return fail(0, "greeting: capabilities: want texts");
    result.offers_oob = result.offers_oob || text_of(name) == "oob";
  }
  return result;
}

Result<Message> failure_of(const json_t* line, const json_t* error) {
  const json_t* its_class = json_object_get(error, "class");
  const json_t* description = json_object_get(error, "desc");
  if (!json_is_string(its_class) || !json_is_string(description))
    return fail(0, "error: want a class and a desc");
  auto id = id_of(line);
  // QEMU could not even read what was sent: nothing after it can be trusted.
  if (!id) return pass(id, "error " + quoted(text_of(description)));
  return Failure{.id = *id,
                 .error_class = text_of(its_class),
                 .description = text_of(description)};
}

Result<Message> event_of(json_t* line, const json_t* name) {
  if (!json_is_string(name)) return fail(0, "event: want a text");
  const json_t* stamp = json_object_get(line, "timestamp");
  const json_t* seconds = json_object_get(stamp, "seconds");
  const json_t* microseconds = json_object_get(stamp, "microseconds");
  if (!json_is_integer(seconds) || !json_is_integer(microseconds))
    return fail(0, "event: timestamp: want seconds and microseconds");
  json_t* data = json_object_get(line, "data");
  if (data != nullptr && !json_is_object(data))
    return fail(0, "event: data: want an object");
  return Event{.name = text_of(name),
               .data = Json{json_incref(data)},
               .seconds = json_integer_value(seconds),
               .microseconds = json_integer_value(microseconds)};
}

Result<Message> return_of(const json_t* line, json_t* value) {
  auto id = id_of(line);
  if (!id) return pass(id, "return");
  return Return{.id = *id, .value = Json{json_incref(value)}};
}

Result<Message> message_of(json_t* line) {
  if (!json_is_object(line)) return fail(0, "want an object");
  json_t* const greeting = json_object_get(line, "QMP");
  json_t* const value = json_object_get(line, "return");
  json_t* const error = json_object_get(line, "error");
  json_t* const event = json_object_get(line, "event");
  const std::array shapes{greeting, value, error, event};
  if (std::count(shapes.begin(), shapes.end(), nullptr) != 3)
    return fail(0, "none of QMP, return, error, event alone");
  if (greeting != nullptr) return greeting_of(greeting);
  if (error != nullptr) return failure_of(line, error);
  if (event != nullptr) return event_of(line, event);
  return return_of(line, value);
}

}  // namespace

// --- Lines
// --------------------------------------------------------------------

void LineReader::feed(std::string_view bytes) {
  drop_given();
  fed_ = bytes;
}

void LineReader::reset() {
  kept_ = std::vector<char>{};
  fed_ = {};
  given_ = false;
}

void LineReader::drop_given() {
  if (!given_) return;
  given_ = false;
  kept_.clear();
  if (kept_.capacity() > kKeptWhenIdle) kept_ = std::vector<char>{};
}

Result<> LineReader::keep(std::string_view piece) {
  const std::size_t size = kept_.size() + piece.size();
  if (size > kLineBytesMax) {
    return fail(
        0, "a line of more than " + std::to_string(kLineBytesMax) + " bytes");
  }
  if (size > kept_.capacity())
    kept_.reserve(
        std::min(std::max(size, 2 * kept_.capacity()), kLineBytesMax));
  kept_.insert(kept_.end(), piece.begin(), piece.end());
  return {};
}

bool LineReader::is_whole() const {
  const std::string_view all{kept_.data(), kept_.size()};
  if (!opens_block(all.substr(0, all.find('\n') + 1))) return true;
  const std::size_t before = all.rfind('\n', all.size() - 2);
  return before != std::string_view::npos &&
         without_end(all.substr(before + 1)) == "}";
}

Result<std::optional<std::string_view>> LineReader::next() {
  drop_given();
  while (!fed_.empty()) {
    const std::size_t end = fed_.find('\n');
    const std::size_t size = end == std::string_view::npos ? end : end + 1;
    const std::string_view piece = fed_.substr(0, size);
    fed_.remove_prefix(piece.size());
    const bool has_end = end != std::string_view::npos;
    if (has_end && kept_.empty() && !opens_block(piece) &&
        piece.size() <= kLineBytesMax)
      return without_end(piece);
    auto kept = keep(piece);
    if (!kept) return pass(kept, "read");
    if (has_end && is_whole()) {
      given_ = true;
      return without_end({kept_.data(), kept_.size()});
    }
  }
  return std::nullopt;
}

// --- Messages
// -----------------------------------------------------------------

Result<Message> parse_message(std::string_view line) {
  Scan scan{line};
  scan.run();
  if (scan.values() > kLineValuesMax)
    return fail(
        0, "more than " + std::to_string(kLineValuesMax) + " values in a line");
  const std::optional<std::string> rewritten = std::move(scan).rewritten();
  const std::string_view text = rewritten ? *rewritten : line;
  json_error_t error{};
  const Json json{
      json_loadb(text.data(), text.size(), JSON_REJECT_DUPLICATES, &error)};
  if (!json) {
    return fail(0, "no JSON: byte " + std::to_string(error.position) + ": " +
                       error.text);
  }
  return message_of(json.get());
}

// --- Commands
// -----------------------------------------------------------------

Result<std::string> encode_command_head(const std::string& name,
                                        const json_t* arguments) {
  if (arguments != nullptr && !json_is_object(arguments))
    return fail(0, "arguments: want an object");
  const Json command{json_object()};
  // Fails for a name that is no UTF-8.
  if (json_object_set_new(command.get(), "execute",
                          json_stringn(name.data(), name.size())) != 0)
    return fail(0, "execute: want UTF-8");
  std::string text;
  const auto append = [](const char* bytes, std::size_t size, void* to) {
    static_cast<std::string*>(to)->append(bytes, size);
    return 0;
  };
  if (json_dump_callback(command.get(), append, &text, JSON_COMPACT) != 0)
    return fail(0, "execute: cannot be written");
  text.pop_back();  // the brace: more members follow
  if (arguments != nullptr) {
    text += ",\"arguments\":";
    if (json_dump_callback(arguments, append, &text, JSON_COMPACT) != 0)
      return fail(0, "arguments: cannot be written");
  }
  text += ",\"id\":";
  return text;
}

Result<std::string> encode_command(const std::string& name,
                                   const json_t* arguments, std::int64_t id) {
  auto head = encode_command_head(name, arguments);
  if (!head) return pass(head, "command");
  return *head + std::to_string(id) + "}\n";
}

}  // namespace outrider::qmp
