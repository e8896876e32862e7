/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_REPORT_HTML_STYLE_H
#define PHY_REPORT_HTML_STYLE_H

/* What stands between <style> and </style> of every page: light and dark, tables, plots, heat maps. */
extern const char phy_report_style[];

#endif
