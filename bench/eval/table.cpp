// SPDX-License-Identifier: Apache-2.0
#include "bench/eval/table.h"

#include <fmt/format.h>

#include <map>

namespace outrider::bench {
namespace {

std::string percent(std::optional<double> share) {
  if (!share) return "-";
  const double value = 100 * *share;
  return value < 20 ? fmt::format("{:.1f}", value)
                    : fmt::format("{:.0f}", value);
}

std::string ratio_text(const Ratio& ratio) {
  return fmt::format("{:.2f}{}", ratio.value,
                     ratio.is_complete ? "" : " (incomplete)");
}

/// What it missed at a setting of its knob, by set; empty if it has none such.
std::string delivered(const MethodResult& method, double knob) {
  std::vector<std::string> figures;
  for (const eval::Curve& curve : method.curves) {
    for (const eval::Point& point : curve.points) {
      if (point.knob != knob) continue;
      figures.push_back(fmt::format("{:.6g}", point.violations));
    }
  }
  return fmt::format("{}", fmt::join(figures, ","));
}

}  // namespace

Ratio ratio_to_yardstick(const Results& results, const MethodResult& method,
                         double violations) {
  Ratio ratio;
  std::map<std::string, std::vector<double>> groups;
  const auto& yardstick = results.methods[results.yardstick].curves;
  for (std::size_t set = 0; set < results.sets.size(); ++set) {
    const auto its = eval::over_at(method.curves[set], violations);
    const auto other = eval::over_at(yardstick[set], violations);
    if (its && other && *its > 0 && *other > 0) {
      groups[results.sources[set]].push_back(*its / *other);
    } else {
      ratio.is_complete = false;
    }
  }
  std::vector<std::vector<double>> values;
  for (const auto& [source, ratios] : groups) values.push_back(ratios);
  ratio.value = eval::mean_of_groups(values).value_or(0);
  return ratio;
}

std::string over_table(const Results& results, double violations) {
  std::string text = "| method |";
  std::string rule = "|---|";
  for (const std::string& set : results.sets) {
    text += fmt::format(" {} |", set);
    rule += "---:|";
  }
  text += fmt::format(" / {} |\n{}---:|\n",
                      results.methods[results.yardstick].method, rule);
  for (const MethodResult& method : results.methods) {
    text += fmt::format("| {} |", method.method);
    for (const eval::Curve& curve : method.curves) {
      text += fmt::format(" {} |", percent(eval::over_at(curve, violations)));
    }
    text += fmt::format(
        " {} |\n", ratio_text(ratio_to_yardstick(results, method, violations)));
  }
  return text;
}

std::string over_json(const Results& results,
                      std::span<const double> violations) {
  std::string text = fmt::format("{{\"sets\":[\"{}\"],\"methods\":{{",
                                 fmt::join(results.sets, "\",\""));
  for (const MethodResult& method : results.methods) {
    const bool is_first = &method == results.methods.data();
    text += fmt::format("{}\"{}\":{{", is_first ? "" : ",", method.method);
    std::vector<std::string> ratios;
    std::vector<std::string> missed;
    for (const double share : violations) {
      missed.push_back(
          fmt::format("\"{:g}\":[{}]", share, delivered(method, 1 - share)));
      std::vector<std::string> figures;
      for (const eval::Curve& curve : method.curves) {
        const auto over = eval::over_at(curve, share);
        figures.push_back(over ? fmt::format("{:.6g}", *over) : "null");
      }
      text += fmt::format("\"{:g}\":[{}],", share, fmt::join(figures, ","));
      const Ratio ratio = ratio_to_yardstick(results, method, share);
      ratios.push_back(ratio.is_complete
                           ? fmt::format("\"{:g}\":{:.6g}", share, ratio.value)
                           : fmt::format("\"{:g}\":null", share));
    }
    text += fmt::format("\"ratio\":{{{}}},\"missed\":{{{}}}}}",
                        fmt::join(ratios, ","), fmt::join(missed, ","));
  }
  return text + "}}\n";
}

}  // namespace outrider::bench
