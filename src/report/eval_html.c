/* SPDX-License-Identifier: Apache-2.0 */
/* eval.html: one file, no script, nothing fetched; the style of every page. Token texts come from a stranger's
 * vocabulary and go through phy_text_html_name. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "base/whole_file.h"
#include "physarium/eval.h"
#include "physarium/version.h"
#include "report/html_style.h"
#include "report/plot.h"
#include "report/text.h"

enum { WORST = 30, BEFORE = 14, AFTER = 6, MOST_BINS = 256 };

/* ---- figures ---- */

static void put_estimate(struct phy_text *out, const char *label, struct phy_estimate e, double factor, int decimals,
                         const char *unit)
{
    phy_text_put(out, "<div class=fact><b>");
    phy_text_decimal(out, e.value * factor, decimals);
    phy_text_put(out, unit);
    phy_text_put(out, "</b><span>");
    phy_text_put(out, label);
    if (e.error > 0) {
        phy_text_put(out, ", &plusmn; ");
        phy_text_decimal(out, e.error * factor, decimals);
    }
    phy_text_put(out, "</span></div>\n");
}

static void put_head(struct phy_text *out, const struct phy_eval_page *page)
{
    const struct phy_eval_result *r = page->result;
    phy_text_put(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
                      "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n<title>Evaluation: ");
    phy_text_html_name(out, page->model_name, PHY_NAME_BARE);
    phy_text_put(out, "</title>\n<style>\n");
    phy_text_put(out, phy_report_style);
    phy_text_put(out, ".ctx{max-width:60ch;overflow-wrap:anywhere}mark{background:var(--band);color:inherit;"
                      "outline:1px solid var(--accent);border-radius:3px;padding:0 2px}\n"
                      "</style></head>\n<body><main>\n<h1>Evaluation</h1>\n<p class=soft>Model ");
    phy_text_html_name(out, page->model_name, PHY_NAME_QUOTED);
    if (page->baseline_name) {
        phy_text_put(out, ", baseline ");
        phy_text_html_name(out, page->baseline_name, PHY_NAME_QUOTED);
    }
    phy_text_put(out, ": ");
    phy_text_count(out, r->token_count);
    phy_text_put(out, " tokens scored in ");
    phy_text_count(out, r->window_count);
    phy_text_printf(out, " windows of %u, on %s.</p>\n<div class=facts>\n", r->context, page->device);
    put_estimate(out, "perplexity", r->perplexity, 1, 4, "");
    if (r->has_baseline) {
        put_estimate(out, "baseline's perplexity", r->baseline_perplexity, 1, 4, "");
        put_estimate(out, "difference (paired error)", r->delta_perplexity, 1, 4, "");
        put_estimate(out, "KL(baseline || model), bits a token", r->kl_bits, 1, 5, "");
        put_estimate(out, "same likeliest token", r->top1_agreement, 100, 2, "%");
        put_estimate(out, "KL, 99th percentile, bits", (struct phy_estimate){r->kl_bits_p99, 0}, 1, 3, "");
    }
    phy_text_put(out, "</div>\n");
}

/* ---- the curve over positions ---- */

struct bin {
    double sum, squares;
    size_t count;
};

static double value_of(const struct phy_eval_result *r, const struct phy_eval_token *token)
{
    return r->has_baseline ? token->kl_bits : token->nll;
}

static double bin_mean(const struct bin *bin)
{
    return bin->count ? bin->sum / (double)bin->count : 0;
}

static double bin_error(const struct bin *bin)
{
    if (bin->count < 2)
        return 0;
    double mean = bin_mean(bin), n = (double)bin->count;
    double variance = (bin->squares - n * mean * mean) / (n - 1);
    return variance > 0 ? sqrt(variance / n) : 0;
}

static double step_for(double span)
{
    double step = pow(10, floor(log10(span)));
    return span / step < 2 ? step / 4 : span / step < 5 ? step / 2 : step;
}

static void put_axes(struct phy_text *out, const struct phy_plot *plot, uint32_t positions)
{
    const double step = step_for(plot->y.high);
    for (int i = 0; i * step <= plot->y.high * 1.0001; i++) {
        phy_plot_y_tick(out, plot, i * step);
        phy_text_number(out, i * step);
        phy_text_put(out, "</text>\n");
    }
    for (int i = 0; i <= 8; i++) {
        phy_plot_x_tick(out, plot, plot->x.high * i / 8.0, false);
        phy_text_printf(out, "%u</text>\n", (uint32_t)((uint64_t)positions * (uint32_t)i / 8));
    }
    phy_plot_titles(out, plot, "position", NULL);
}

/* The mean of each bin that has one, `errors` times its error away. */
static void put_means(struct phy_text *out, const struct phy_plot *plot, const struct bin *bins, size_t count,
                      double errors)
{
    for (size_t k = 0; k < count; k++) {
        const size_t i = errors < 0 ? count - 1 - k : k; /* a band's lower side is walked back */
        const double value = bin_mean(&bins[i]) + errors * bin_error(&bins[i]);
        if (bins[i].count)
            phy_plot_point(out, plot, (double)i + 0.5, fmin(fmax(value, 0), plot->y.high));
    }
}

static void put_curve(struct phy_text *out, const struct phy_eval_result *r)
{
    struct bin *bins = phy_zalloc(MOST_BINS, sizeof *bins);
    const uint32_t positions = r->context, count = positions < 64 ? positions : 64;
    if (!bins) {
        out->failed = true;
        return;
    }
    double high = 0;
    for (size_t i = 0; i < r->token_count; i++) {
        struct bin *bin = &bins[(uint64_t)r->tokens[i].position * count / positions];
        double value = value_of(r, &r->tokens[i]);
        bin->sum += value;
        bin->squares += value * value;
        bin->count++;
    }
    for (uint32_t i = 0; i < count; i++)
        high = fmax(high, bin_mean(&bins[i]) + bin_error(&bins[i]));
    high = high > 0 ? high : 1;
    phy_text_printf(
        out,
        "<h2>%s by position in the window</h2>\n<p class=soft>Line: mean over the windows. Band: one standard "
        "error. The beginning of a window has little context.</p>\n",
        r->has_baseline ? "KL in bits" : "Negative log likelihood, nats,");
    const struct phy_plot plot = {
        .left = 64, .right = 984, .top = 14, .bottom = 226, .x = {.high = count}, .y = {.high = high}};
    phy_plot_begin(out, 1000, 274, "by position");
    put_axes(out, &plot, positions);
    phy_text_put(out, "<polygon class=band points=\"");
    put_means(out, &plot, bins, count, 1);
    put_means(out, &plot, bins, count, -1);
    phy_text_put(out, "\"></polygon>\n<polyline class=curve points=\"");
    put_means(out, &plot, bins, count, 0);
    phy_text_put(out, "\"></polyline>\n");
    phy_plot_end(out);
    phy_free(bins);
}

/* ---- the tokens where they differ ---- */

static void put_tokens(struct phy_text *out, const struct phy_eval_page *page, const uint32_t *ids, size_t count)
{
    struct phy_decoded decoded;
    if (!page->tokenizer) {
        for (size_t i = 0; i < count; i++)
            phy_text_printf(out, " %" PRIu32, ids[i]);
        phy_text_put(out, " ");
        return;
    }
    if (phy_tokenizer_decode(page->tokenizer, ids, count, NULL, &decoded) != PHY_OK) {
        out->failed = true;
        return;
    }
    for (const char *at = decoded.text;;) {
        size_t bytes = strcspn(at, "\n");
        char *line = phy_strndup(at, bytes);
        if (line)
            phy_text_html_name(out, line, PHY_NAME_LINE);
        else
            out->failed = true;
        phy_free(line);
        at += bytes;
        if (*at++ == 0)
            break;
        phy_text_put(out, "<span class=soft>&crarr;</span>");
    }
    phy_decoded_free(&decoded);
}

static void put_row(struct phy_text *out, const struct phy_eval_page *page, const struct phy_eval_token *token)
{
    const struct phy_eval_result *r = page->result;
    size_t begin = token->index > BEFORE ? token->index - BEFORE : 0;
    size_t end = page->token_count - token->index > AFTER + 1 ? token->index + AFTER + 1 : page->token_count;
    phy_text_put(out, "<tr><td>");
    phy_text_decimal(out, value_of(r, token), 3);
    phy_text_put(out, "</td><td class=\"l ctx\">&hellip;");
    put_tokens(out, page, page->tokens + begin, token->index - begin);
    phy_text_put(out, "<mark>");
    put_tokens(out, page, page->tokens + token->index, 1);
    phy_text_put(out, "</mark>");
    put_tokens(out, page, page->tokens + token->index + 1, end - token->index - 1);
    phy_text_put(out, "&hellip;</td>");
    if (r->has_baseline) {
        phy_text_put(out, "<td class=\"l m\">");
        put_tokens(out, page, &token->baseline_top1, 1);
        phy_text_put(out, "</td>");
    }
    phy_text_put(out, "<td class=\"l m\">");
    put_tokens(out, page, &token->top1, 1);
    phy_text_put(out, "</td>");
    if (r->has_baseline) {
        phy_text_put(out, "<td>");
        phy_text_decimal(out, token->baseline_nll, 2);
        phy_text_put(out, "</td>");
    }
    phy_text_put(out, "<td>");
    phy_text_decimal(out, token->nll, 2);
    phy_text_put(out, "</td></tr>\n");
}

/* Indices of the largest values, largest first: a short list, kept sorted. */
static size_t find_worst(const struct phy_eval_result *r, size_t worst[WORST])
{
    size_t count = 0;
    for (size_t i = 0; i < r->token_count; i++) {
        double value = value_of(r, &r->tokens[i]);
        size_t at = count;
        while (at > 0 && value > value_of(r, &r->tokens[worst[at - 1]]))
            at--;
        if (at == WORST)
            continue;
        count = count < WORST ? count + 1 : count;
        memmove(worst + at + 1, worst + at, (count - at - 1) * sizeof *worst);
        worst[at] = i;
    }
    return count;
}

static void put_worst(struct phy_text *out, const struct phy_eval_page *page)
{
    const struct phy_eval_result *r = page->result;
    size_t worst[WORST], count = find_worst(r, worst);
    phy_text_put(out, r->has_baseline
                          ? "<h2>Where the models differ most</h2>\n<p class=soft>The marked token is the one that the "
                            "text goes on with; beside it what each model held likeliest there.</p>\n"
                          : "<h2>What surprised the model most</h2>\n");
    phy_text_put(out,
                 r->has_baseline
                     ? "<div class=wide><table><tr><th>KL, bits<th class=l>context<th class=l>baseline "
                       "says<th class=l>model says<th>nll, baseline<th>nll, model</tr>\n"
                     : "<div class=wide><table><tr><th>nll<th class=l>context<th class=l>model says<th>nll</tr>\n");
    for (size_t i = 0; i < count; i++)
        put_row(out, page, &r->tokens[worst[i]]);
    phy_text_put(out, "</table></div>\n");
}

/* ---- the file ---- */

static int write_page(const void *user, int fd)
{
    const struct phy_text *text = user;
    return phy_write_all(fd, text->data, text->bytes);
}

enum phy_status phy_eval_write_html(const struct phy_eval_page *page)
{
    struct phy_text text = {0};
    put_head(&text, page);
    put_curve(&text, page->result);
    put_worst(&text, page);
    phy_text_printf(
        &text,
        "<footer>physarium %s. KL is exact: over the whole vocabulary, in float64 sums over float32 logits. "
        "Errors are standard errors over tokens, taken as independent.</footer>\n</main></body></html>\n",
        phy_version());
    enum phy_status status = text.failed ? phy_fail_memory(page->host, "a page", text.bytes)
                                         : phy_write_whole_file(page->output, write_page, &text, page->host);
    phy_text_free(&text);
    return status;
}
