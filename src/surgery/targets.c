/* SPDX-License-Identifier: Apache-2.0 */
#include "physarium/targets.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "surgery/glob.h"

static const char *const default_projections[] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",
};

/* ---- names ---- */

struct span {
    const char *text;
    size_t bytes;
};

static bool span_is(struct span span, const char *text)
{
    return span.bytes == strlen(text) && memcmp(span.text, text, span.bytes) == 0;
}

static bool span_drop_suffix(struct span *span, const char *suffix)
{
    size_t bytes = strlen(suffix);
    if (span->bytes < bytes || memcmp(span->text + span->bytes - bytes, suffix, bytes) != 0)
        return false;
    span->bytes -= bytes;
    return true;
}

/* A whole component of digits; more than 9 of them are no layer that anyone has. */
static bool span_number(struct span span, uint32_t *out)
{
    if (span.bytes == 0 || span.bytes > 9)
        return false;
    uint32_t value = 0;
    for (size_t i = 0; i < span.bytes; i++) {
        if (span.text[i] < '0' || span.text[i] > '9')
            return false;
        value = value * 10 + (uint32_t)(span.text[i] - '0');
    }
    *out = value;
    return true;
}

/* Take the component before the last dot off the end of `rest`; the dot goes too. */
static struct span span_pop(struct span *rest)
{
    size_t start = rest->bytes;
    while (start > 0 && rest->text[start - 1] != '.')
        start--;
    struct span last = {rest->text + start, rest->bytes - start};
    rest->bytes = start ? start - 1 : 0;
    return last;
}

/* Take the first component off the front of `rest`, with its dot. */
static struct span span_shift(struct span *rest)
{
    const char *dot = memchr(rest->text, '.', rest->bytes);
    struct span first = {rest->text, dot ? (size_t)(dot - rest->text) : rest->bytes};
    size_t taken = first.bytes + (dot ? 1 : 0);
    rest->text += taken;
    rest->bytes -= taken;
    return first;
}

/* [prefix.]layers.N.<default projection>.weight, read from its end so that no prefix can mislead. */
static const char *default_projection(const struct phy_tensor_info *tensor, uint32_t *layer)
{
    struct span rest = {tensor->name, tensor->name_bytes};
    if (!span_drop_suffix(&rest, ".weight"))
        return NULL;
    for (size_t i = 0; i < sizeof default_projections / sizeof *default_projections; i++) {
        struct span before = rest;
        if (!span_drop_suffix(&before, default_projections[i]) || !span_drop_suffix(&before, "."))
            continue;
        return span_number(span_pop(&before), layer) && span_is(span_pop(&before), "layers") ? default_projections[i]
                                                                                             : NULL;
    }
    return NULL;
}

/* The first N of layers.N or of what other families call it, and what follows; false if there is none. */
static bool find_layer(const struct phy_tensor_info *tensor, uint32_t *layer, struct span *after)
{
    static const char *const words[] = {"layers", "layer", "h", "blocks", "block"};
    struct span rest = {tensor->name, tensor->name_bytes}, last = {"", 0};
    while (rest.bytes) {
        struct span component = span_shift(&rest);
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            if (span_is(last, words[i]) && span_number(component, layer)) {
                *after = rest;
                return true;
            }
        }
        last = component;
    }
    return false;
}

/* Append to out (capacity with NUL) as much of `text` as fits, ending at a character. */
static void append(char *out, size_t capacity, size_t *used, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        size_t length = phy_utf8_sequence(text + i, bytes - i, NULL);
        length = length ? length : 1;
        if (*used + length >= capacity)
            break;
        memcpy(out + *used, text + i, length);
        *used += length;
        i += length;
    }
    out[*used] = 0;
}

/* `name` with every component that is a number replaced by `number`: experts.17.up_proj becomes experts.N.up_proj. For
 * a glob the name's own special characters are put in sets. */
static void fold_numbers(char *out, size_t capacity, struct span name, const char *number, bool for_glob)
{
    size_t used = 0;
    uint32_t value;
    out[0] = 0;
    while (name.bytes) {
        bool dot = memchr(name.text, '.', name.bytes) != NULL;
        struct span component = span_shift(&name);
        if (span_number(component, &value))
            append(out, capacity, &used, number, strlen(number));
        else if (!for_glob)
            append(out, capacity, &used, component.text, component.bytes);
        else
            for (size_t i = 0; i < component.bytes; i++) {
                char set[3] = {'[', component.text[i], ']'};
                bool special = strchr("*?[", component.text[i]) != NULL;
                append(out, capacity, &used, special ? set : component.text + i, special ? 3 : 1);
            }
        if (dot)
            append(out, capacity, &used, ".", 1);
    }
}

/* ---- what a tensor is ---- */

/* NULL if the flow can run on it, else why not. */
static const char *unsuitable(const struct phy_tensor_info *tensor)
{
    if (strcmp(tensor->dtype, "BF16") != 0 && strcmp(tensor->dtype, "F16") != 0 && strcmp(tensor->dtype, "F32") != 0)
        return "is not BF16, F16 or F32";
    if (tensor->dim_count != 2)
        return "does not have 2 dimensions";
    return tensor->shape[0] == 0 || tensor->shape[1] == 0 ? "is empty" : NULL;
}

static const char *describe_shape(char out[160], const struct phy_tensor_info *tensor)
{
    size_t used = (size_t)snprintf(out, 160, "%.16s [", tensor->dtype);
    for (uint32_t i = 0; i < tensor->dim_count && used < 128; i++)
        used += (size_t)snprintf(out + used, 160 - used, "%s%llu", i ? ", " : "", (unsigned long long)tensor->shape[i]);
    snprintf(out + used, 160 - used, "]");
    return out;
}

/* ---- what else is there: matrices under other names ---- */

enum { GROUP_LIMIT = 64, GROUP_PATTERN_BYTES = 160 };

struct group {
    char pattern[GROUP_PATTERN_BYTES]; /* numbers folded to N */
    struct phy_tensor_info first;
    bool same_shape;
    size_t count;
};

struct groups {
    struct group *items;
    size_t count;
    size_t tensors; /* in all groups and beyond */
    bool more;      /* more patterns than GROUP_LIMIT */
};

static bool same_shape(const struct phy_tensor_info *a, const struct phy_tensor_info *b)
{
    return a->dim_count == b->dim_count && memcmp(a->shape, b->shape, a->dim_count * sizeof *a->shape) == 0 &&
           strcmp(a->dtype, b->dtype) == 0;
}

static void groups_add(struct groups *groups, const struct phy_tensor_info *tensor)
{
    char pattern[GROUP_PATTERN_BYTES];
    fold_numbers(pattern, sizeof pattern, (struct span){tensor->name, tensor->name_bytes}, "N", false);
    groups->tensors++;
    for (size_t i = 0; i < groups->count; i++) {
        struct group *group = &groups->items[i];
        if (strcmp(group->pattern, pattern) == 0) {
            group->count++;
            group->same_shape = group->same_shape && same_shape(&group->first, tensor);
            return;
        }
    }
    if (groups->count == GROUP_LIMIT) {
        groups->more = true;
        return;
    }
    struct group *group = &groups->items[groups->count++];
    *group = (struct group){.first = *tensor, .same_shape = true, .count = 1};
    memcpy(group->pattern, pattern, sizeof pattern);
}

/* Matrices that the default names pass over: 2-D or 3-D (stacked experts), inside a layer. With `anywhere`, outside
 * too. */
static void groups_collect(struct groups *groups, const struct phy_checkpoint *checkpoint, bool anywhere)
{
    *groups = (struct groups){.items = groups->items};
    for (size_t i = 0; i < phy_checkpoint_tensor_count(checkpoint); i++) {
        struct phy_tensor_info tensor;
        struct span after;
        uint32_t layer;
        phy_checkpoint_tensor(checkpoint, i, &tensor);
        bool matrix = tensor.dim_count == 2 || tensor.dim_count == 3;
        if (matrix && !default_projection(&tensor, &layer) && (anywhere || find_layer(&tensor, &layer, &after)))
            groups_add(groups, &tensor);
    }
}

/* List the groups in out, as many as fit in `capacity`: "a.N.b" BF16 [2, 3] x 24, ... */
static void groups_describe(const struct groups *groups, char *out, size_t capacity)
{
    size_t used = 0, shown = 0;
    out[0] = 0;
    for (; shown < groups->count; shown++) {
        const struct group *group = &groups->items[shown];
        char quoted[PHY_QUOTED_BYTES], shape[160], piece[PHY_QUOTED_BYTES + 256];
        int length =
            snprintf(piece, sizeof piece, "%s%s %s%s x %zu", shown ? ", " : "",
                     phy_quote(quoted, group->pattern, strlen(group->pattern)), describe_shape(shape, &group->first),
                     group->same_shape ? "" : " and others", group->count);
        /* 40 bytes stay free for the note about what is left out. */
        if (length < 0 || used + (size_t)length + 40 > capacity)
            break;
        memcpy(out + used, piece, (size_t)length + 1);
        used += (size_t)length;
    }
    if (shown < groups->count || groups->more)
        snprintf(out + used, capacity - used, "%sand %zu%s more names", shown ? ", " : "", groups->count - shown,
                 groups->more ? " or" : "");
}

/* How to name the first group that surgery could take. */
static void groups_advise(const struct groups *groups, char *out, size_t capacity)
{
    for (size_t i = 0; i < groups->count; i++) {
        const struct group *group = &groups->items[i];
        char glob[200], quoted[PHY_QUOTED_BYTES];
        if (unsuitable(&group->first))
            continue;
        fold_numbers(glob, sizeof glob, (struct span){group->first.name, group->first.name_bytes}, "*", true);
        if (strlen(glob) > 96)
            continue;
        snprintf(out, capacity, "; name what to prune, for example --include %s",
                 phy_quote(quoted, glob, strlen(glob)));
        return;
    }
    snprintf(out, capacity, "; none of them is a 2-D BF16, F16 or F32 tensor, which is what --include can name");
}

/* ---- choosing ---- */

struct chooser {
    const struct phy_checkpoint *checkpoint;
    const struct phy_target_params *params;
    const struct phy_host *host;
    struct phy_target_list *out;
    size_t capacity;
    bool *include_hit, *exclude_hit; /* each glob matched something */
    size_t skipped;                  /* named, but the flow cannot run on them */
    size_t named;                    /* by the default names or an include, before the rest */
    struct phy_tensor_info first_skipped;
};

static bool matches_any(const char *const *globs, size_t count, bool *hit, const struct phy_tensor_info *tensor)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        if (phy_glob_match(globs[i], tensor->name, tensor->name_bytes))
            any = hit[i] = true;
    }
    return any;
}

static enum phy_status keep(struct chooser *chooser, const struct phy_target *target,
                            const struct phy_tensor_info *tensor)
{
    struct phy_target_list *out = chooser->out;
    uint64_t elements;
    if (out->count == chooser->capacity) {
        size_t capacity = chooser->capacity ? chooser->capacity * 2 : 256;
        struct phy_target *grown = phy_realloc(out->targets, capacity, sizeof *grown);
        if (!grown)
            return phy_fail_memory(chooser->host, "the list of targets", capacity * sizeof *grown);
        out->targets = grown;
        chooser->capacity = capacity;
    }
    if (!phy_mul_u64(tensor->shape[0], tensor->shape[1], &elements) ||
        !phy_add_u64(out->elements, elements, &out->elements))
        return phy_fail(chooser->host, PHY_ERR_LIMIT, "targets: more than 2^64 weights");
    out->targets[out->count++] = *target;
    return PHY_OK;
}

/* Name, layer and projection of a tensor, if it is named at all. */
static bool is_named(struct chooser *chooser, const struct phy_tensor_info *tensor, struct phy_target *target)
{
    const struct phy_target_params *params = chooser->params;
    uint32_t layer = PHY_NO_LAYER;
    const char *projection = default_projection(tensor, &layer);
    if (params->include_count && !matches_any(params->include, params->include_count, chooser->include_hit, tensor))
        return false;
    if (!params->include_count && !projection)
        return false;
    if (projection) {
        snprintf(target->projection, sizeof target->projection, "%s", projection);
    } else {
        struct span name = {tensor->name, tensor->name_bytes};
        if (!find_layer(tensor, &layer, &name))
            layer = PHY_NO_LAYER;
        span_drop_suffix(&name, ".weight");
        fold_numbers(target->projection, sizeof target->projection, name, "N", false);
    }
    target->layer = layer;
    return true;
}

static enum phy_status consider(struct chooser *chooser, size_t index)
{
    const struct phy_target_params *params = chooser->params;
    struct phy_tensor_info tensor;
    struct phy_target target = {.tensor = index};
    phy_checkpoint_tensor(chooser->checkpoint, index, &tensor);
    if (!is_named(chooser, &tensor, &target))
        return PHY_OK;
    chooser->named++;
    if (params->exclude_count && matches_any(params->exclude, params->exclude_count, chooser->exclude_hit, &tensor))
        return PHY_OK;
    if (params->has_layers &&
        (target.layer == PHY_NO_LAYER || target.layer < params->first_layer || target.layer > params->last_layer))
        return PHY_OK;
    if (unsuitable(&tensor)) {
        if (chooser->skipped++ == 0)
            chooser->first_skipped = tensor;
        return PHY_OK;
    }
    return keep(chooser, &target, &tensor);
}

/* "tensor "a.b" (F8_E4M3 [2, 3]) does not ..." */
static const char *describe_skipped(const struct chooser *chooser, char out[PHY_QUOTED_BYTES + 256])
{
    char quoted[PHY_QUOTED_BYTES], shape[160];
    const struct phy_tensor_info *tensor = &chooser->first_skipped;
    snprintf(out, PHY_QUOTED_BYTES + 256, "%s (%s) %s", phy_quote(quoted, tensor->name, tensor->name_bytes),
             describe_shape(shape, tensor), unsuitable(tensor));
    return out;
}

static enum phy_status fail_with_nothing(const struct chooser *chooser, struct groups *groups)
{
    const struct phy_target_params *params = chooser->params;
    char text[PHY_QUOTED_BYTES + 256], found[560], advice[PHY_QUOTED_BYTES + 64];
    if (chooser->skipped)
        return phy_fail(chooser->host, PHY_ERR_UNSUPPORTED,
                        "no target: of %zu named tensors none is a 2-D BF16, F16 or F32 tensor, the first is %s",
                        chooser->skipped, describe_skipped(chooser, text));
    if (chooser->named && params->has_layers)
        return phy_fail(chooser->host, PHY_ERR_USAGE, "no target: none of %zu named tensors is in layers %u to %u%s",
                        chooser->named, params->first_layer, params->last_layer,
                        params->exclude_count ? " and left over by --exclude" : "");
    if (chooser->named)
        return phy_fail(chooser->host, PHY_ERR_USAGE, "no target: --exclude takes away all %zu named tensors",
                        chooser->named);
    groups_collect(groups, chooser->checkpoint, false);
    if (groups->count == 0)
        groups_collect(groups, chooser->checkpoint, true);
    if (groups->count == 0)
        return phy_fail(chooser->host, params->include_count ? PHY_ERR_USAGE : PHY_ERR_UNSUPPORTED,
                        "no target: there is no tensor with 2 dimensions");
    groups_describe(groups, found, sizeof found);
    if (params->include_count) {
        phy_quote(text, params->include[0], strlen(params->include[0]));
        return phy_fail(chooser->host, PHY_ERR_USAGE, "no target: no tensor matches --include %s%s; there are %s", text,
                        params->include_count > 1 ? " or the others" : "", found);
    }
    groups_advise(groups, advice, sizeof advice);
    return phy_fail(
        chooser->host, PHY_ERR_UNSUPPORTED,
        "no target: nothing is named *layers.N.{self_attn.{q,k,v,o}_proj,mlp.{gate,up,down}_proj}.weight; found %s%s",
        found, advice);
}

static void warn_about_rest(const struct chooser *chooser, struct groups *groups)
{
    const struct phy_target_params *params = chooser->params;
    char text[PHY_QUOTED_BYTES + 256], found[620];
    if (chooser->skipped)
        phy_warn(chooser->host, "%zu named tensors cannot be pruned and stay as they are, the first: %s",
                 chooser->skipped, describe_skipped(chooser, text));
    for (size_t i = 0; i < params->include_count; i++) {
        if (!chooser->include_hit[i])
            phy_warn(chooser->host, "--include %s matches no tensor",
                     phy_quote(text, params->include[i], strlen(params->include[i])));
    }
    for (size_t i = 0; i < params->exclude_count; i++) {
        if (!chooser->exclude_hit[i])
            phy_warn(chooser->host, "--exclude %s takes nothing away",
                     phy_quote(text, params->exclude[i], strlen(params->exclude[i])));
    }
    if (params->include_count)
        return;
    groups_collect(groups, chooser->checkpoint, false);
    if (groups->count) {
        groups_describe(groups, found, sizeof found);
        phy_warn(chooser->host,
                 "%zu matrices under other names stay as they are: %s; --include can name 2-D ones (it replaces the "
                 "default names)",
                 groups->tensors, found);
    }
}

static enum phy_status check_params(const struct phy_checkpoint *checkpoint, const struct phy_target_params *params,
                                    const struct phy_host *host)
{
    if (params->has_layers && params->first_layer > params->last_layer)
        return phy_fail(host, PHY_ERR_USAGE, "layers %u to %u: the first is after the last", params->first_layer,
                        params->last_layer);
    if (phy_checkpoint_container(checkpoint) == PHY_CONTAINER_GGUF)
        return phy_fail(host, PHY_ERR_UNSUPPORTED, "a GGUF file has no targets: physarium import makes a donor of it");
    return PHY_OK;
}

enum phy_status phy_targets_choose(struct phy_target_list *out, const struct phy_checkpoint *checkpoint,
                                   const struct phy_target_params *params, const struct phy_host *host)
{
    static const struct phy_target_params defaults;
    *out = (struct phy_target_list){0};
    params = params ? params : &defaults;
    enum phy_status status = check_params(checkpoint, params, host);
    if (status != PHY_OK)
        return status;
    struct groups groups = {.items = phy_alloc(GROUP_LIMIT, sizeof *groups.items)};
    bool *hits = phy_zalloc(params->include_count + params->exclude_count, sizeof *hits);
    struct chooser chooser = {.checkpoint = checkpoint,
                              .params = params,
                              .host = host,
                              .out = out,
                              .include_hit = hits,
                              .exclude_hit = hits ? hits + params->include_count : NULL};
    if (!groups.items || !hits)
        status = phy_fail_memory(host, "choosing targets", GROUP_LIMIT * sizeof *groups.items);
    for (size_t i = 0; status == PHY_OK && i < phy_checkpoint_tensor_count(checkpoint); i++)
        status = consider(&chooser, i);
    if (status == PHY_OK && out->count == 0)
        status = fail_with_nothing(&chooser, &groups);
    else if (status == PHY_OK)
        warn_about_rest(&chooser, &groups);
    phy_free(groups.items);
    phy_free(hits);
    if (status != PHY_OK)
        phy_target_list_free(out);
    return status;
}

void phy_target_list_free(struct phy_target_list *list)
{
    phy_free(list->targets);
    *list = (struct phy_target_list){0};
}
