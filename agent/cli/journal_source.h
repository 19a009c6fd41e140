// SPDX-License-Identifier: Apache-2.0
// A journal on disk, for the subcommands that look back.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/cli/ask.h"
#include "agent/core/journal_record.h"

namespace outrider {

/// One segment, and when it began.
struct JournalSegment {
  std::string path;
  SegmentHead head;
};

/// `path`: a segment, or a directory of them. The oldest first. Errors: no
/// segment; a record of samples, which another subcommand shows. A segment
/// whose very head is damaged is left out, if there are others.
Answer<std::vector<JournalSegment>> open_journal(const std::string& path);

/// Those from the one that `wall_ns` lies in. Errors: it is older than the
/// journal.
Answer<std::vector<JournalSegment>> since(std::vector<JournalSegment> segments,
                                          std::int64_t wall_ns);

/// Calls `take` with each record of a segment, until that is false or the end.
/// Errors: damage, or what `take` makes of a record, with its number and file.
Answer<void> read_segment(
    const JournalSegment& segment,
    const std::function<Result<bool>(const JournalRecord&)>& take);

/// "2026-11-20T16:22:36.5Z", local time without the Z, or "@1795191756.5"; in
/// ns since 1970.
Result<std::int64_t> parse_time(const std::string& text);

/// In UTC, to the millisecond.
std::string time_text(std::int64_t wall_ns);

/// When it was, in ns since 1970, of a segment's instant.
std::int64_t wall_of(const SegmentHead& head, Instant at);

}  // namespace outrider
