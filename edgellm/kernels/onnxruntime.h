// The part of onnxruntime's C interface that a library of operators needs.
//
// onnxruntime hands out a table of functions that only ever grows at its end, so a place in it stands
// for one function for good. The table here ends at version 17, the first with a parallel loop.
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum { ORT_API_VERSION = 17 };
enum { ORT_FAIL = 1 };                                // OrtErrorCode
enum { ORT_FLOAT = 1, ORT_UINT8 = 2, ORT_INT8 = 3, ORT_INT32 = 6 };  // ONNXTensorElementDataType

typedef struct OrtStatus OrtStatus;
typedef struct OrtValue OrtValue;
typedef struct OrtShape OrtShape;    // OrtTensorTypeAndShapeInfo
typedef struct OrtDomain OrtDomain;  // OrtCustomOpDomain
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtCustomOp OrtCustomOp;

typedef struct {
    OrtStatus *(*create_status)(int code, const char *message);
    const void *skip_1[25];
    OrtStatus *(*create_domain)(const char *name, OrtDomain **);
    OrtStatus *(*add_operator)(OrtDomain *, const OrtCustomOp *);
    OrtStatus *(*add_domain)(OrtSessionOptions *, OrtDomain *);
    const void *skip_29[22];
    OrtStatus *(*get_data)(OrtValue *, void **);
    const void *skip_52[9];
    OrtStatus *(*get_rank)(const OrtShape *, size_t *);
    OrtStatus *(*get_dimensions)(const OrtShape *, int64_t *, size_t);
    const void *skip_63[2];
    OrtStatus *(*get_shape)(const OrtValue *, OrtShape **);
    const void *skip_66[24];
    OrtStatus *(*get_input)(const OrtKernelContext *, size_t, const OrtValue **);
    OrtStatus *(*get_output)(OrtKernelContext *, size_t, const int64_t *, size_t, OrtValue **);
    const void *skip_92[7];
    void (*release_shape)(OrtShape *);
    const void *skip_100[149];
    OrtStatus *(*get_constant_input)(const OrtKernelInfo *, size_t, int *, const OrtValue **);
    const void *skip_250[24];
    OrtStatus *(*parallel_for)(const OrtKernelContext *, void (*)(void *, size_t), size_t count,
                               size_t batches, void *);
} OrtApi;

#define ORT_PLACE(field, place) \
    static_assert(offsetof(OrtApi, field) == (place) * sizeof(void *), #field)
ORT_PLACE(create_domain, 26);
ORT_PLACE(get_data, 51);
ORT_PLACE(get_rank, 61);
ORT_PLACE(get_shape, 65);
ORT_PLACE(get_input, 90);
ORT_PLACE(release_shape, 99);
ORT_PLACE(get_constant_input, 249);
ORT_PLACE(parallel_for, 274);

typedef struct {
    const OrtApi *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} OrtApiBase;

// An operator; onnxruntime reads further fields of one that says a later version.
enum { ORT_CUSTOM_OP_VERSION = 16 };
struct OrtCustomOp {
    uint32_t version;
    void *(*create_before_16)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *);
    const char *(*name)(const OrtCustomOp *);
    const char *(*provider)(const OrtCustomOp *);
    int (*input_type)(const OrtCustomOp *, size_t);
    size_t (*input_count)(const OrtCustomOp *);
    int (*output_type)(const OrtCustomOp *, size_t);
    size_t (*output_count)(const OrtCustomOp *);
    void (*compute_before_16)(void *, OrtKernelContext *);
    void (*destroy)(void *);
    int (*input_characteristic)(const OrtCustomOp *, size_t);   // 0: required
    int (*output_characteristic)(const OrtCustomOp *, size_t);  // 0: required
    int (*input_memory)(const OrtCustomOp *, size_t);           // 0: the provider's own
    int (*variadic_input_least)(const OrtCustomOp *);
    int (*variadic_input_alike)(const OrtCustomOp *);
    int (*variadic_output_least)(const OrtCustomOp *);
    int (*variadic_output_alike)(const OrtCustomOp *);
    OrtStatus *(*create)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *, void **);
    OrtStatus *(*compute)(void *, OrtKernelContext *);
};
