import { timestampFromDate as timestampOfProtobufEs } from "@bufbuild/protobuf/wkt";
import { timestampFromDate } from "containerd-shim-protos/shim";
import * as fc from "fast-check";
import { expect, test } from "vitest";

test("a date gives the timestamp that protobuf-es gives, before and after 1970", () => {
  fc.assert(
    fc.property(fc.date({ noInvalidDate: true }), (date) => {
      expect(timestampFromDate(date)).toEqual(timestampOfProtobufEs(date));
    }),
  );
});

test("an invalid date is refused", () => {
  expect(() => timestampFromDate(new Date(Number.NaN))).toThrow(RangeError);
});
