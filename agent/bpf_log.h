// SPDX-License-Identifier: Apache-2.0
// What libbpf says while it loads: which program the kernel refused, and why,
// it tells only in words. One thread loads at a time.
#pragma once

#include <string>

namespace outrider {

/// From here on libbpf's words are kept instead of printed.
void begin_bpf_log();
const std::string& bpf_log();
/// Whether the program of this name failed to load.
bool bpf_log_blames(const std::string& program);
/// The line that says most, for people.
std::string bpf_log_reason();

}  // namespace outrider
