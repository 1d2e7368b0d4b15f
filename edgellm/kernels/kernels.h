// Products of int8 rows with weights of 8 or 4 bits in panels; operators.c calls them.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    PANEL = 16,      // outputs whose weights lie in one panel
    DEPTH_STEP = 16,  // inputs are padded with zeros to a multiple of this
    MOST_ROWS = 8,    // of any variant
};

// How a group of a row is quantized: real = (integer - zero) * scale. One load takes it all.
typedef struct {
    float scale;
    int32_t zero;
    int32_t sum;  // of the integers
    int32_t unused;
} Range;

// Some rows times one panel. Of weights of 8 bits the product is
//   scales * sum over groups of (x w - x.zero sums) * x.scale
// and of those of 4 bits, whose groups have zero points and scales, and whose rows have no zero point,
//   sum over groups of (x w - zeros x.sum) * x.scale * scales
typedef struct {
    const void *panel;
    const int8_t *x;         // the first row; each is groups * depth bytes
    const Range *ranges;     // (rows, groups)
    size_t groups, depth;    // depth: inputs of a group
    const int32_t *sums;     // (groups, PANEL): of the weights of 8 bits
    const int32_t *zeros;    // (groups, PANEL): of those of 4
    const float *scales;     // (PANEL), or (groups, PANEL)
    float *y;                // (rows, PANEL), rows that lie `y_stride` floats apart
    size_t y_stride;
} Tile;

// One way to lay weights out and to multiply them, for one kind of core.
//
// A panel is blocks of `lanes` outputs. A block holds, for each `together` inputs, those of its first
// output, then those of its second, and so on: it streams through memory once, front to back. Of
// weights of 4 bits, a byte holds in its low half an input of the first `together`, in its high half
// one of the next.
typedef struct {
    int lanes;
    int together;
    int rows;  // the most at once
    void (*multiply)(const Tile *, int rows);
} Variant;

typedef enum { BITS_8, BITS_4 } Bits;

// The fastest variant that this core can run.
const Variant *choose_variant(Bits bits);

// Quantize `count` floats and fill up to `padded`, a multiple of DEPTH_STEP, with zeros: for weights of
// 8 bits to -128..127, with the range that holds them and 0, as edgellm/quantize/operators.py does; for
// those of 4 to -127..127 around 0, as MatMulNBits does with int8 activations.
Range quantize(const float *row, size_t count, size_t padded, Bits bits, int8_t *out);
