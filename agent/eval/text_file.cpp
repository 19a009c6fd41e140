// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/text_file.h"

#include <zlib.h>

#include <array>
#include <cerrno>
#include <memory>

namespace outrider::eval {
namespace {

struct CloseGz {
  void operator()(gzFile file) const { gzclose(file); }
};

}  // namespace

Result<std::string> read_text_file(const std::string& path) {
  errno = 0;
  const std::unique_ptr<gzFile_s, CloseGz> file{gzopen(path.c_str(), "rbe")};
  if (!file) return fail(errno, "open " + path);
  std::string text;
  std::array<char, 65536> buffer;
  int got = 0;
  while ((got = gzread(file.get(), buffer.data(), buffer.size())) > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  if (got < 0) {
    int code = 0;
    return fail(0, "read " + path + ": " + gzerror(file.get(), &code));
  }
  return text;
}

}  // namespace outrider::eval
