import type { ScalarType as Scalar } from "@bufbuild/protobuf";

/** The types of scalar fields, with protobuf-es's names and numbers. The values are here so that it need not load. */
export type ScalarType = Scalar;

export const ScalarType = {
  DOUBLE: 1,
  FLOAT: 2,
  INT64: 3,
  UINT64: 4,
  INT32: 5,
  FIXED64: 6,
  FIXED32: 7,
  BOOL: 8,
  STRING: 9,
  BYTES: 12,
  UINT32: 13,
  SFIXED32: 15,
  SFIXED64: 16,
  SINT32: 17,
  SINT64: 18,
} as unknown as typeof Scalar;
