/* SPDX-License-Identifier: Apache-2.0 */
/* Plots of the pages, as SVG: a frame with an axis along two of its sides, what is drawn at places on them, and the few
 * elements that other pictures are made of, too. Classes are those of phy_report_style or the page's own. */
#ifndef PHY_REPORT_PLOT_H
#define PHY_REPORT_PLOT_H

#include <stdbool.h>

#include "report/text.h"

struct phy_plot_axis {
    double low, high;
    bool logarithmic; /* then low > 0 */
};

/* Page coordinates of the frame, y downwards. */
struct phy_plot {
    double left, right, top, bottom;
    double inset; /* of the x axis from the frame's sides */
    struct phy_plot_axis x, y;
};

/* Where a value is; all of an axis without extent are in its middle. */
double phy_plot_x(const struct phy_plot *plot, double value);
double phy_plot_y(const struct phy_plot *plot, double value);

void phy_plot_begin(struct phy_text *out, int width, int height, const char *label);
void phy_plot_end(struct phy_text *out);

/* ---- at places on the axes ---- */

/* A line across the frame, for x if `line`, and the beginning of a label, which the caller ends with </text>. */
void phy_plot_x_tick(struct phy_text *out, const struct phy_plot *plot, double value, bool line);
void phy_plot_y_tick(struct phy_text *out, const struct phy_plot *plot, double value);
/* y_title: NULL where there is none. */
void phy_plot_titles(struct phy_text *out, const struct phy_plot *plot, const char *x_title, const char *y_title);
/* One of a polyline's or polygon's points. */
void phy_plot_point(struct phy_text *out, const struct phy_plot *plot, double x, double y);
/* The beginning of a circle with these attributes, which the caller ends with </circle>. */
void phy_plot_dot(struct phy_text *out, const struct phy_plot *plot, const char *attributes, double x, double y);

/* ---- in page coordinates ---- */

void phy_plot_line(struct phy_text *out, const char *class, double x1, double y1, double x2, double y2);
/* The beginnings of elements, which the caller ends. */
void phy_plot_label(struct phy_text *out, const char *attributes, double x, double y);
void phy_plot_rect(struct phy_text *out, const char *class, double x, double y, double width, double height);

#endif
