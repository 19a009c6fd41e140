// SPDX-License-Identifier: Apache-2.0
// `outrider eval`: what methods would have allocated for recorded demand.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/table.h"
#include "agent/cli/terminal.h"
#include "agent/eval/csv.h"
#include "agent/eval/method.h"
#include "agent/eval/plot.h"
#include "agent/eval/recording.h"
#include "agent/eval/score.h"
#include "agent/eval/text_file.h"
#include "agent/json.h"

namespace outrider {
namespace {

constexpr std::size_t kWarmUpMax = 256;

struct EvalOptions {
  std::vector<std::string> paths;
  std::vector<std::string> methods;
  std::vector<double> taus = {0.95, 0.99};
  std::size_t horizon = 1;
  std::size_t season = 0;
  double capacity = 0;
  std::string plot;
  bool skip_bad = false;
};

Result<std::vector<std::string>> files_of(const EvalOptions& options) {
  std::vector<std::string> files;
  for (const std::string& path : options.paths) {
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      files.push_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      const std::string name = entry.path().filename();
      if (name.ends_with(".csv") || name.ends_with(".csv.gz") ||
          name.ends_with(".rec")) {
        files.push_back(entry.path());
      }
    }
    if (error) return fail(error.value(), "list " + path);
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) return fail(0, "no .csv, .csv.gz or .rec file is there");
  return files;
}

/// The most of each `ticks` values; what is missing counts only where all are.
std::vector<double> peaks_of(const std::vector<double>& values,
                             std::size_t ticks) {
  std::vector<double> peaks;
  for (std::size_t i = 0; i + ticks <= values.size(); i += ticks) {
    double peak = values[i];
    for (std::size_t k = 1; k < ticks; ++k) {
      peak = std::fmax(peak, values[i + k]);  // not a NaN if the other is none
    }
    peaks.push_back(peak);
  }
  return peaks;
}

Result<eval::SeriesSet> read_set(const EvalOptions& options,
                                 const std::vector<std::string>& files) {
  eval::SeriesSet set;
  set.season = options.season / options.horizon;
  for (const std::string& file : files) {
    auto text = eval::read_text_file(file);
    if (!text) return pass(text, "eval");
    const eval::TraceOptions how{.skip_bad = options.skip_bad};
    auto trace = eval::is_recording(*text)
                     ? eval::parse_recording(*text, file, how)
                     : eval::parse_csv(*text, file, how);
    if (!trace) return pass(trace, "eval");
    if (trace->skipped > 0) {
      fmt::print(stderr, "outrider: {}: left out what is bad ({})\n", file,
                 trace->skipped);
    }
    for (eval::Series& series : trace->series) {
      series.values = peaks_of(series.values, options.horizon);
      if (options.capacity > 0) series.capacity = options.capacity;
      for (const double value : series.values) {
        if (value > series.capacity) series.capacity = value;
      }
      set.series.push_back(std::move(series));
    }
  }
  set.warm_up = std::min(kWarmUpMax, eval::ticks_of(set) / 4);
  return set;
}

Result<std::vector<eval::MethodRow>> wanted_rows(const EvalOptions& options) {
  auto rows = eval::methods();
  if (options.methods.empty()) return rows;
  std::vector<eval::MethodRow> wanted;
  for (const std::string& name : options.methods) {
    const eval::MethodRow* row = eval::find_method(rows, name);
    if (row == nullptr) {
      std::string names;
      for (const auto& each : rows) names += " " + each.name;
      return fail(0, "no method is called '" + name + "'; there are:" + names);
    }
    wanted.push_back(*row);
  }
  return wanted;
}

std::string percent(std::optional<double> share) {
  return share ? fmt::format("{:.1f}", 100 * *share) : "-";
}

std::string as_table(const EvalOptions& options,
                     const std::vector<eval::Curve>& curves) {
  std::vector<std::vector<std::string>> rows{{"METHOD"}};
  for (const double tau : options.taus) {
    rows[0].push_back(fmt::format("OVER% AT {:g}%", 100 * (1 - tau)));
  }
  for (const eval::Curve& curve : curves) {
    std::vector<std::string> row{curve.method};
    for (const double tau : options.taus) {
      row.push_back(percent(eval::over_at(curve, 1 - tau)));
    }
    rows.push_back(std::move(row));
  }
  return table_text(rows);
}

json_t* number(std::optional<double> value) {
  return value ? json_real(*value) : json_null();
}

json_t* curve_json(const EvalOptions& options, const eval::Curve& curve) {
  json_t* over = json_object();
  for (const double tau : options.taus) {
    json_object_set_new(over, fmt::format("{:g}", tau).c_str(),
                        number(eval::over_at(curve, 1 - tau)));
  }
  json_t* points = json_array();
  for (const eval::Point& point : curve.points) {
    json_array_append_new(
        points, json_pack("{s:f, s:f, s:f}", "knob", point.knob, "violations",
                          point.violations, "over", point.over));
  }
  return json_pack("{s:s, s:I, s:I, s:o, s:o}", "method", curve.method.c_str(),
                   "series", static_cast<json_int_t>(curve.series), "scored",
                   static_cast<json_int_t>(curve.scored), "over", over, "curve",
                   points);
}

std::string as_json(const EvalOptions& options,
                    const std::vector<eval::Curve>& curves) {
  json_t* methods = json_array();
  for (const eval::Curve& curve : curves) {
    json_array_append_new(methods, curve_json(options, curve));
  }
  const Json all{
      json_pack("{s:b, s:i, s:o}", "ok", 1, "schema", 1, "methods", methods)};
  const std::unique_ptr<char, decltype(&std::free)> text{
      json_dumps(all.get(), JSON_COMPACT | JSON_REAL_PRECISION(6)), &std::free};
  return std::string{text.get()} + "\n";
}

Result<> write_plot(const std::string& path, const std::string& svg) {
  std::ofstream file{path};
  file << svg;
  file.flush();
  if (!file) return fail(errno, "write " + path);
  return {};
}

// To who waits at a terminal; the next one takes its place.
void say_progress(const std::string& what) {
  if (::isatty(STDERR_FILENO) != 1) return;
  fmt::print(stderr, "\r\033[K{}{}", what, what.empty() ? "" : " ...");
  std::fflush(stderr);
}

int run_eval(const EvalOptions& options, const CommonOptions& common) {
  auto files = files_of(options);
  if (!files) return complain_of(files.error());
  auto rows = wanted_rows(options);
  if (!rows) return complain({kExitUsage, rows.error().what});
  auto set = read_set(options, *files);
  if (!set) return complain_of(set.error());
  std::vector<eval::Curve> curves;
  for (const eval::MethodRow& row : *rows) {
    if (row.needs_season && set->season == 0) continue;
    say_progress(row.name);
    curves.push_back(eval::run_method(row, *set));
  }
  say_progress("");
  if (!options.plot.empty()) {
    auto written = write_plot(options.plot,
                              eval::plot_curves(options.paths.front(), curves));
    if (!written) return complain_of(written.error());
  }
  put(common.json ? as_json(options, curves) : as_table(options, curves));
  return kExitOk;
}

std::string is_above_zero(const std::string& text) {
  double value = 0;
  const bool is_one = CLI::detail::lexical_cast(text, value) && value > 0;
  return is_one ? "" : "want a number above 0, got " + text;
}

}  // namespace

void add_eval(const CommandSite& site) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command = site.parent.add_subcommand(
      "eval", "What methods would have allocated for recorded demand");
  command->footer(
      "Reads what `outrider record` wrote, and CSV: a column a series, a line "
      "a\n"
      "tick; a column called t, time or timestamp is the time. Each method "
      "sees\n"
      "all ticks up to one and names what it would allocate for the next. "
      "Shown\n"
      "is what was allocated and not used, in % of what was used, at the "
      "setting\n"
      "of the method's knob at which it was too little in 1 - TAU of the "
      "ticks;\n"
      "'-' where no setting comes to that. See docs/eval.md.\n\n"
      "examples:\n"
      "  outrider eval night.rec\n"
      "  outrider eval recordings/ --methods autopilot-like,holt --tau 0.99\n"
      "  outrider eval web.csv --horizon 10 --plot web.svg");
  command->add_option("PATH", options->paths, "files, or folders of them")
      ->required();
  command->add_option("--methods", options->methods, "only these")
      ->delimiter(',');
  command->add_option("--tau", options->taus, "share of lines to be enough for")
      ->delimiter(',')
      ->check(CLI::Range(0.5, 0.9999));
  command
      ->add_option("--horizon", options->horizon,
                   "lines that an allocation is for: the most of them counts")
      ->check(CLI::Range(1, 100'000));
  command->add_option("--season", options->season,
                      "lines in a day, for methods that must be told");
  command
      ->add_option("--capacity", options->capacity,
                   "what a series can have at most")
      ->check(is_above_zero);
  command->add_option("--plot", options->plot, "write the curves as SVG");
  command->add_flag("--skip-bad", options->skip_bad,
                    "leave out lines that cannot be read");
  command->callback([site, options] {
    site.chosen = [site, options] { return run_eval(*options, site.common); };
  });
}

}  // namespace outrider
