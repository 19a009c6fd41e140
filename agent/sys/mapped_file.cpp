// SPDX-License-Identifier: Apache-2.0
#include "agent/sys/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "agent/sys/fd.h"

namespace outrider {

void Unmap::operator()(std::byte* bytes) const { ::munmap(bytes, size); }

Result<MappedFile> map_file(const std::string& path) {
  const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat file {};
  if (!fd || ::fstat(fd.get(), &file) != 0) return fail(errno, path);
  if (!S_ISREG(file.st_mode)) return fail(EINVAL, path + ": no regular file");
  if (file.st_size == 0) return MappedFile{};
  const auto size = static_cast<std::size_t>(file.st_size);
  void* bytes = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (bytes == MAP_FAILED) return fail(errno, path);
  return MappedFile{{static_cast<std::byte*>(bytes), Unmap{size}}};
}

}  // namespace outrider
