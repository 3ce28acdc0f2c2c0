//! Values generated from a seed, biased toward the edges of each type.

use protobuf::{
    MessageDyn,
    reflect::{EnumDescriptor, MessageDescriptor, ReflectValueBox, RuntimeFieldType, RuntimeType},
};

use crate::dump::Dumper;

/// The depth to which messages are nested.
const MAX_DEPTH: u32 = 5;

const STRINGS: [&str; 16] = [
    "",
    "a",
    "0",
    "10",
    "2",
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "\0",
    "\u{feff}mark",
    "\"\\/\u{8}\u{c}\n\r\t\u{1f}\u{7f}\u{80}",
    "\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}",
    "\u{2028}\u{2029}",
    "grüße 日本 🎉",
    "type.googleapis.com/containerd.events.TaskExit",
];

const LENGTHS: [usize; 4] = [126, 127, 128, 300];
const LONG_LENGTHS: [usize; 4] = [16_383, 16_384, 20_000, 70_000];

const DOUBLES: [f64; 12] = [
    0.0,
    1.0,
    -1.0,
    0.1,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MIN_POSITIVE,
    5e-324,
    f64::MAX,
    f64::MIN,
    9_007_199_254_740_993.0,
];

/// A SplitMix64 generator.
pub(crate) struct Random(u64);

impl Random {
    /// The generator of the `index`th value of a run.
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        let mut random = Self(seed);
        Self(random.next() ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is small.
    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % limit).unwrap_or_default()
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// True once in `times`, on average.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// An integer with any number of significant bits.
    fn bits(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }

    fn u64(&mut self) -> u64 {
        match self.below(8) {
            0 => self.pick(&[0, 1, 127, 128, 16_383, 16_384]),
            1 => self.pick(&[(1 << 32) - 1, 1 << 32, (1 << 53) - 1, 1 << 53, (1 << 53) + 1]),
            2 => self.pick(&[(1 << 63) - 1, 1 << 63, u64::MAX]),
            _ => self.bits(),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
    fn u32(&mut self) -> u32 {
        match self.below(4) {
            0 => self.pick(&[0, 1, 127, 128, (1 << 31) - 1, 1 << 31, u32::MAX]),
            _ => self.bits() as u32 >> self.below(32),
        }
    }

    fn double(&mut self) -> f64 {
        match f64::from_bits(self.next()) {
            _ if self.once_in(2) => self.pick(&DOUBLES),
            // JavaScript does not keep the sign and the payload of a NaN.
            number if number.is_nan() => f64::NAN,
            number => number,
        }
    }

    fn length(&mut self) -> usize {
        match self.below(400) {
            0 => self.pick(&LONG_LENGTHS),
            1..=8 => self.pick(&LENGTHS),
            _ => self.below(24),
        }
    }

    fn string(&mut self) -> String {
        if self.once_in(3) {
            return self.pick(&STRINGS).to_owned();
        }
        let length = self.length();
        // Long ones repeat one value, because only their length matters.
        let ranges: &[(u32, u32)] = if length > 100 || self.once_in(2) {
            &[(0x20, 0x7f)]
        } else {
            &[(0, 0x80), (0x80, 0x800), (0x800, 0xd800), (0xe000, 0x1_0000), (0x1_0000, 0x11_0000)]
        };
        (0..length)
            .filter_map(|_| {
                let (first, end) = self.pick(ranges);
                let offset = u32::try_from(self.next() % u64::from(end - first)).ok()?;
                char::from_u32(first + offset)
            })
            .collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.length();
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Generates messages.
pub(crate) struct Generator<'a> {
    dumper: &'a mut Dumper,
    random: Random,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(dumper: &'a mut Dumper, random: Random) -> Self {
        Self { dumper, random }
    }

    pub(crate) fn message(
        &mut self,
        descriptor: &MessageDescriptor,
        depth: u32,
    ) -> Box<dyn MessageDyn> {
        let mut message = descriptor.new_instance();
        let plan = self.dumper.plan(descriptor);
        // So many of ten fields are set.
        let density = self.random.pick(&[0, 3, 7, 10]);
        for field in &plan.fields {
            if self.random.below(10) >= density {
                continue;
            }
            match &field.field_type {
                RuntimeFieldType::Singular(RuntimeType::Message(_)) if depth == MAX_DEPTH => {}
                RuntimeFieldType::Singular(kind) => {
                    let value = self.value(kind, depth);
                    field.descriptor.set_singular_field(&mut *message, value);
                }
                RuntimeFieldType::Repeated(kind) => {
                    for _ in 0..self.count(depth) {
                        let value = match self.value(kind, depth) {
                            // rust-protobuf 3.7 gives a packed enum with a negative value a wrong length.
                            ReflectValueBox::Enum(descriptor, number) => {
                                ReflectValueBox::Enum(descriptor, number & i32::MAX)
                            }
                            value => value,
                        };
                        field.descriptor.mut_repeated(&mut *message).push(value);
                    }
                }
                RuntimeFieldType::Map(key, kind) => {
                    for _ in 0..self.count(depth) {
                        let key = self.value(key, depth);
                        let value = self.value(kind, depth);
                        field.descriptor.mut_map(&mut *message).insert(key, value);
                    }
                }
            }
        }
        if self.random.once_in(4) {
            let taken: Vec<_> = plan.fields.iter().map(|field| field.descriptor.number()).collect();
            self.unknown(&mut *message, &taken);
        }
        message
    }

    fn value(&mut self, kind: &RuntimeType, depth: u32) -> ReflectValueBox {
        let random = &mut self.random;
        match kind {
            RuntimeType::I32 => ReflectValueBox::I32(random.u32().cast_signed()),
            RuntimeType::U32 => ReflectValueBox::U32(random.u32()),
            RuntimeType::I64 => ReflectValueBox::I64(random.u64().cast_signed()),
            RuntimeType::U64 => ReflectValueBox::U64(random.u64()),
            #[expect(clippy::cast_possible_truncation, reason = "a float is what is wanted")]
            RuntimeType::F32 => ReflectValueBox::F32(random.double() as f32),
            RuntimeType::F64 => ReflectValueBox::F64(random.double()),
            RuntimeType::Bool => ReflectValueBox::Bool(random.once_in(2)),
            RuntimeType::String => ReflectValueBox::String(random.string()),
            RuntimeType::VecU8 => ReflectValueBox::Bytes(random.bytes()),
            RuntimeType::Enum(descriptor) => self.enum_value(descriptor),
            RuntimeType::Message(descriptor) => {
                ReflectValueBox::Message(self.message(descriptor, depth + 1))
            }
        }
    }

    /// A value that the enum declares or, because proto3 enums are open, any other.
    fn enum_value(&mut self, descriptor: &EnumDescriptor) -> ReflectValueBox {
        let declared: Vec<_> = descriptor.values().map(|value| value.value()).collect();
        let number = if self.random.once_in(4) {
            self.random.u32().cast_signed()
        } else {
            self.random.pick(&declared)
        };
        ReflectValueBox::Enum(descriptor.clone(), number)
    }

    /// How many items a list or map has.
    fn count(&mut self, depth: u32) -> usize {
        match depth {
            MAX_DEPTH => 0,
            0 => self.random.pick(&[0, 1, 1, 2, 3, 12]),
            _ => self.random.pick(&[0, 1, 2]),
        }
    }

    fn unknown(&mut self, message: &mut dyn MessageDyn, taken: &[i32]) {
        let fields = message.mut_special_fields_dyn().mut_unknown_fields();
        for _ in 0..self.random.pick(&[1, 1, 2, 5]) {
            let number = self.random.pick(&[15, 16, 100, 2047, 2048, 18_999, 20_000, 536_870_911]);
            if i32::try_from(number).is_ok_and(|number| taken.contains(&number)) {
                continue;
            }
            match self.random.below(4) {
                0 => fields.add_varint(number, self.random.u64()),
                1 => fields.add_fixed32(number, self.random.u32()),
                2 => fields.add_fixed64(number, self.random.u64()),
                _ => fields.add_length_delimited(number, self.random.bytes()),
            }
        }
    }
}
