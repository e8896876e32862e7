/* SPDX-License-Identifier: Apache-2.0 */
#include "report/plot.h"

#include <math.h>

/* From 0 at low to 1 at high. */
static double share_of(const struct phy_plot_axis *axis, double value)
{
    if (!(axis->high > axis->low))
        return 0.5;
    return axis->logarithmic ? log(value / axis->low) / log(axis->high / axis->low)
                             : (value - axis->low) / (axis->high - axis->low);
}

double phy_plot_x(const struct phy_plot *plot, double value)
{
    return plot->left + plot->inset + (plot->right - plot->left - 2 * plot->inset) * share_of(&plot->x, value);
}

double phy_plot_y(const struct phy_plot *plot, double value)
{
    return plot->bottom - (plot->bottom - plot->top) * share_of(&plot->y, value);
}

void phy_plot_begin(struct phy_text *out, int width, int height, const char *label)
{
    phy_text_printf(out, "<div class=wide><svg class=plot viewBox=\"0 0 %d %d\" role=img aria-label=\"%s\">\n", width,
                    height, label);
}

void phy_plot_end(struct phy_text *out)
{
    phy_text_put(out, "</svg></div>\n");
}

static void put_at(struct phy_text *out, const char *before, double value)
{
    phy_text_put(out, before);
    phy_text_decimal(out, value, 1);
}

void phy_plot_line(struct phy_text *out, const char *class, double x1, double y1, double x2, double y2)
{
    phy_text_printf(out, "<line class=\"%s\"", class);
    put_at(out, " x1=", x1);
    put_at(out, " y1=", y1);
    put_at(out, " x2=", x2);
    put_at(out, " y2=", y2);
    phy_text_put(out, "></line>\n");
}

void phy_plot_label(struct phy_text *out, const char *attributes, double x, double y)
{
    phy_text_printf(out, "<text %s", attributes);
    put_at(out, " x=", x);
    put_at(out, " y=", y);
    phy_text_put(out, ">");
}

void phy_plot_rect(struct phy_text *out, const char *class, double x, double y, double width, double height)
{
    phy_text_printf(out, "<rect class=%s", class);
    put_at(out, " x=", x);
    put_at(out, " y=", y);
    put_at(out, " width=", width);
    put_at(out, " height=", height);
    phy_text_put(out, ">");
}

void phy_plot_x_tick(struct phy_text *out, const struct phy_plot *plot, double value, bool line)
{
    const double x = phy_plot_x(plot, value);
    if (line)
        phy_plot_line(out, "grid", x, plot->top, x, plot->bottom);
    phy_plot_label(out, "text-anchor=middle", x, plot->bottom + 19);
}

void phy_plot_y_tick(struct phy_text *out, const struct phy_plot *plot, double value)
{
    const double y = phy_plot_y(plot, value);
    phy_plot_line(out, "grid", plot->left, y, plot->right, y);
    phy_plot_label(out, "text-anchor=end", plot->left - 8, y + 4);
}

void phy_plot_titles(struct phy_text *out, const struct phy_plot *plot, const char *x_title, const char *y_title)
{
    phy_plot_label(out, "text-anchor=middle", (plot->left + plot->right) / 2, plot->bottom + 41);
    phy_text_printf(out, "%s</text>\n", x_title);
    if (y_title)
        phy_text_printf(out, "<text text-anchor=middle transform=\"translate(16 %.0f) rotate(-90)\">%s</text>\n",
                        (plot->top + plot->bottom) / 2, y_title);
}

void phy_plot_point(struct phy_text *out, const struct phy_plot *plot, double x, double y)
{
    put_at(out, "", phy_plot_x(plot, x));
    put_at(out, ",", phy_plot_y(plot, y));
    phy_text_put(out, " ");
}

void phy_plot_dot(struct phy_text *out, const struct phy_plot *plot, const char *attributes, double x, double y)
{
    phy_text_printf(out, "<circle %s", attributes);
    put_at(out, " cx=", phy_plot_x(plot, x));
    put_at(out, " cy=", phy_plot_y(plot, y));
    phy_text_put(out, ">");
}
