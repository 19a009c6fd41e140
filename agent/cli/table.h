// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace outrider {

/// Rows of texts as columns of equal width, two spaces apart; the first row is
/// the heading. Columns whose texts below it are all numbers (upper bounds,
/// "<=1.5", among them) stand right.
std::string table_text(const std::vector<std::vector<std::string>>& rows);

}  // namespace outrider
