// SPDX-License-Identifier: Apache-2.0
#include "agent/knob_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace outrider {

Result<KnobFile> KnobFile::open(int directory, std::string_view attribute) {
  const std::string name{attribute};
  Fd file{::openat(directory, name.c_str(), O_RDWR | O_CLOEXEC)};
  if (!file) return fail(errno, "open " + name);
  return KnobFile{std::move(file)};
}

KnobReading KnobFile::read() const {
  std::array<char, KnobValue::kBytesMax + 1> buffer;
  const ssize_t got = ::pread(file_.get(), buffer.data(), buffer.size(), 0);
  if (got < 0) return {errno, {}};
  const std::string_view text{buffer.data(), static_cast<std::size_t>(got)};
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return {EPROTO, {}};
  return {0, KnobValue{text.substr(0, end)}};
}

int KnobFile::write(const KnobValue& text) const {
  const std::string_view line = text.line();
  const ssize_t done = ::pwrite(file_.get(), line.data(), line.size(), 0);
  if (done < 0) return errno;
  return static_cast<std::size_t>(done) == line.size() ? 0 : EIO;
}

}  // namespace outrider
