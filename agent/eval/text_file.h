// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/base/result.h"

namespace outrider::eval {

/// A whole file, unpacked if it is gzip. Errors: it cannot be read; what is
/// packed is damaged.
Result<std::string> read_text_file(const std::string& path);

}  // namespace outrider::eval
