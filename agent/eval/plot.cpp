// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace outrider::eval {
namespace {

constexpr double kWidth = 900;
constexpr double kHeight = 560;
constexpr double kLeft = 80;
constexpr double kRight = 220;  // the legend
constexpr double kTop = 50;
constexpr double kBottom = 60;
constexpr double kViolationsMin = 0.001;
constexpr double kViolationsMax = 0.5;

// Of Okabe and Ito (2008): told apart by people who are colour-blind, too.
constexpr std::array<const char*, 8> kColours = {
    "#000000", "#e69f00", "#56b4e9", "#009e73",
    "#d55e00", "#0072b2", "#cc79a7", "#999999"};
constexpr std::array<const char*, 3> kDashes = {"none", "6 3", "2 3"};

/// A logarithmic axis onto a range of pixels.
struct Axis {
  double low = 1;
  double high = 10;
  double from = 0;
  double to = 0;

  double at(double value) const {
    const double kept = std::clamp(value, low, high);
    const double way = std::log(kept / low) / std::log(high / low);
    return from + way * (to - from);
  }
};

Axis over_axis(std::span<const Curve> curves) {
  double low = 1e300;
  double high = 0;
  for (const Curve& curve : curves) {
    for (const Point& point : curve.points) {
      if (point.violations < kViolationsMin / 10) continue;
      if (point.over <= 0) continue;
      low = std::min(low, point.over);
      high = std::max(high, point.over);
    }
  }
  if (high <= 0) return {0.1, 10, kHeight - kBottom, kTop};
  return {std::max(low / 1.2, high / 1e4), high * 1.2, kHeight - kBottom, kTop};
}

/// 1, 2 and 5 of each decade within the axis.
std::vector<double> ticks_of(const Axis& axis) {
  std::vector<double> ticks;
  for (int decade = -6; decade <= 6; ++decade) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      const double value = digit * std::pow(10.0, decade);
      if (value >= axis.low && value <= axis.high) ticks.push_back(value);
    }
  }
  return ticks;
}

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

class Drawing {
 public:
  Drawing(const Axis& x, const Axis& y) : x_(x), y_(y) {
    put("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" "
        "font-family=\"sans-serif\" font-size=\"13\">\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        kWidth, kHeight);
  }

  void text(double x, double y, const char* anchor, const std::string& words) {
    put("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y,
        anchor, escaped(words));
  }

  void grid() {
    for (const double value : ticks_of(x_)) {
      const double x = x_.at(value);
      line(x, y_.from, x, y_.to);
      text(x, y_.from + 18, "middle", fmt::format("{:g} %", 100 * value));
    }
    for (const double value : ticks_of(y_)) {
      const double y = y_.at(value);
      line(x_.from, y, x_.to, y);
      text(x_.from - 6, y + 4, "end", fmt::format("{:g} %", 100 * value));
    }
  }

  void curve(const Curve& curve, std::size_t index) {
    const char* colour = kColours[index % kColours.size()];
    const char* dash = kDashes[index / kColours.size() % kDashes.size()];
    std::vector<std::pair<double, double>> points;
    for (const Point& point : curve.points) {
      if (point.violations <= 0 || point.over <= 0) continue;
      points.emplace_back(point.violations, point.over);
    }
    std::sort(points.begin(), points.end());
    std::string path;
    for (const auto& [violations, over] : points) {
      fmt::format_to(std::back_inserter(path), "{:.1f},{:.1f} ",
                     x_.at(violations), y_.at(over));
    }
    put("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\" "
        "stroke-dasharray=\"{}\" points=\"{}\"/>\n",
        colour, dash, path);
    const double y = kTop + 10 + 20 * static_cast<double>(index);
    put("<line x1=\"{0}\" x2=\"{1}\" y1=\"{2}\" y2=\"{2}\" stroke=\"{3}\" "
        "stroke-width=\"2\" stroke-dasharray=\"{4}\"/>\n",
        x_.to + 15, x_.to + 45, y, colour, dash);
    text(x_.to + 52, y + 4, "start", curve.method);
  }

  std::string finish() && { return std::move(svg_) + "</svg>\n"; }

 private:
  template <class... Values>
  void put(fmt::format_string<Values...> format, Values&&... values) {
    fmt::format_to(std::back_inserter(svg_), format,
                   std::forward<Values>(values)...);
  }

  void line(double x1, double y1, double x2, double y2) {
    put("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" "
        "stroke=\"#dddddd\"/>\n",
        x1, y1, x2, y2);
  }

  Axis x_;
  Axis y_;
  std::string svg_;
};

}  // namespace

std::string plot_curves(const std::string& title,
                        std::span<const Curve> curves) {
  const Axis x{kViolationsMin, kViolationsMax, kLeft, kWidth - kRight};
  Drawing drawing{x, over_axis(curves)};
  drawing.grid();
  drawing.text(kLeft, kTop - 20, "start", title);
  drawing.text((x.from + x.to) / 2, kHeight - 15, "middle",
               "ticks whose demand was above the allocation");
  drawing.text(12, kTop - 4, "start", "over-allocated");
  for (std::size_t i = 0; i < curves.size(); ++i) drawing.curve(curves[i], i);
  return std::move(drawing).finish();
}

}  // namespace outrider::eval
