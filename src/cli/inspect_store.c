/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "physarium/physarium.h"

static bool holds(const char *directory, const char *name)
{
    char path[4096 + 64];
    snprintf(path, sizeof path, "%.4096s/%s", directory, name);
    return access(path, F_OK) == 0;
}

bool phy_is_store(const char *path)
{
    return holds(path, "index.json") && !holds(path, "model.safetensors") &&
           !holds(path, "model.safetensors.index.json");
}

static double bits_per_weight(uint64_t bytes, uint64_t weights)
{
    return weights ? 8 * (double)bytes / (double)weights : 0;
}

/* All weights; and to *values those that are stored, which a bitmap's zeros are not. */
static uint64_t count_weights(const struct phy_ffn_store *store, uint64_t *values)
{
    uint64_t weights = 0;
    *values = 0;
    struct phy_ffn_matrix_info m;
    for (size_t i = 0; i < phy_ffn_store_matrix_count(store); i++) {
        phy_ffn_store_matrix(store, i, &m);
        weights += m.rows * m.cols;
        *values += m.values;
    }
    return weights;
}

static void print_json(const struct phy_ffn_store *store, const struct phy_ffn_store_info *info)
{
    uint64_t values;
    const uint64_t weights = count_weights(store, &values);
    struct phy_ffn_matrix_info m;
    printf("{\"container\": \"ffn store\", \"scheme\": \"%s\", \"layout\": \"%s\", \"digest\": \"%s\",\n", info->scheme,
           info->layout, info->digest);
    printf(" \"layer_count\": %u, \"stored_layers\": %u, \"hidden_size\": %u, \"intermediate_size\": %u,\n",
           info->layer_count, info->stored_layers, info->hidden_size, info->intermediate_size);
    printf(" \"weights\": %" PRIu64 ", \"values\": %" PRIu64 ", \"bytes\": %" PRIu64
           ", \"bits_per_weight\": %.4f, \"compression\": %.4f,\n",
           weights, values, info->bytes, bits_per_weight(info->bytes, weights),
           info->bytes ? 2 * (double)weights / (double)info->bytes : 0);
    fputs(" \"matrices\": [", stdout);
    for (size_t i = 0; i < phy_ffn_store_matrix_count(store); i++) {
        phy_ffn_store_matrix(store, i, &m);
        printf("%s\n  {\"layer\": %u, \"name\": \"%s\", \"format\": \"%s\", \"rows\": %" PRIu64 ", \"cols\": %" PRIu64
               ", \"values\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"offset\": %" PRIu64 ", \"file\": ",
               i ? "," : "", m.layer, m.name, m.format, m.rows, m.cols, m.values, m.bytes, m.offset);
        phy_print_json_string(m.file, strlen(m.file));
        putchar('}');
    }
    fputs("]}\n", stdout);
}

static double density(uint64_t values, uint64_t weights)
{
    return weights ? (double)values / (double)weights : 0;
}

static void print_table(const struct phy_ffn_store *store, const struct phy_ffn_store_info *info)
{
    uint64_t values;
    const uint64_t weights = count_weights(store, &values);
    const bool sparse = strcmp(info->scheme, "bitmap") == 0;
    struct phy_ffn_matrix_info m;
    char name[PHY_QUOTED_NAME_BYTES];
    printf("FFN store: scheme %s, layout %s, %u of %u layers, hidden %u, intermediate %u\n", info->scheme, info->layout,
           info->stored_layers, info->layer_count, info->hidden_size, info->intermediate_size);
    printf("  layer  matrix           format      %20s  %12s  %6s  %splace\n", "rows x cols", "bytes", "bits",
           sparse ? "density  " : "");
    for (size_t i = 0; i < phy_ffn_store_matrix_count(store); i++) {
        char shape[48];
        phy_ffn_store_matrix(store, i, &m);
        snprintf(shape, sizeof shape, "%" PRIu64 " x %" PRIu64, m.rows, m.cols);
        printf("  %5u  %-15s  %-10s  %20s  %12" PRIu64 "  %6.3f  ", m.layer, m.name, m.format, shape, m.bytes,
               bits_per_weight(m.bytes, m.rows * m.cols));
        if (sparse)
            printf("%7.4f  ", density(m.values, m.rows * m.cols));
        printf("%s + %" PRIu64 "\n", phy_quote_name(name, m.file, strlen(m.file)), m.offset);
    }
    if (sparse)
        printf("density %.4f: %" PRIu64 " weights that are not zero\n", density(values, weights), values);
    printf("total: %zu matrices, %" PRIu64 " weights, %" PRIu64 " bytes, %.3f bits per weight, %.2f times smaller than "
           "16 bits\ndigest %s\n",
           phy_ffn_store_matrix_count(store), weights, info->bytes, bits_per_weight(info->bytes, weights),
           info->bytes ? 2 * (double)weights / (double)info->bytes : 0, info->digest);
}

enum phy_status phy_inspect_store(const char *path, const struct phy_ffn_store_params *params, bool json)
{
    struct phy_ffn_store *store;
    struct phy_ffn_store_info info;
    enum phy_status status = phy_ffn_store_open(&store, path, params);
    if (status != PHY_OK)
        return status;
    phy_ffn_store_describe(store, &info);
    if (json)
        print_json(store, &info);
    else
        print_table(store, &info);
    phy_ffn_store_close(&store);
    return PHY_OK;
}
