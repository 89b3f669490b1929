// SPDX-License-Identifier: Apache-2.0
/**
 * Typed arrays without memory: they have a length, a place in a buffer and views, and no elements. What only passes arrays
 * on, as the engine does with those of a device, cannot tell them apart.
 */

/** Typed arrays that can be stood in for. */
type Standable = Float32Array | Float64Array | Uint16Array | Int16Array | Int32Array;

/** Makes views of some memory, as the constructors of typed arrays do. */
export interface ArrayViews<A> {
  new (memory: ArrayBuffer, byteOffset: number, length: number): A;
  readonly BYTES_PER_ELEMENT: number;
}

/** A buffer without memory. */
export function phantomBuffer(byteLength: number): ArrayBuffer {
  return { byteLength } as ArrayBuffer;
}

/** Phantoms that pass for the typed arrays of one kind, `instanceof` and `constructor` included. */
function phantomsOf<A extends Standable>(kind: { readonly prototype: A } & ArrayViews<A>): ArrayViews<A> {
  const { BYTES_PER_ELEMENT } = kind;
  class Phantom {
    static readonly BYTES_PER_ELEMENT = BYTES_PER_ELEMENT;
    readonly BYTES_PER_ELEMENT = BYTES_PER_ELEMENT;
    readonly buffer: ArrayBuffer;
    readonly byteOffset: number;
    readonly length: number;
    readonly byteLength: number;

    constructor(buffer: ArrayBuffer, byteOffset: number, length: number) {
      this.buffer = buffer;
      this.byteOffset = byteOffset;
      this.length = length;
      this.byteLength = length * BYTES_PER_ELEMENT;
    }

    subarray(begin = 0, end = this.length): Phantom {
      const [from, to] = [begin, end].map((place) =>
        Math.min(place < 0 ? this.length + place : place, this.length)
      ) as [
        number,
        number,
      ];
      return new Phantom(this.buffer, this.byteOffset + from * BYTES_PER_ELEMENT, Math.max(0, to - from));
    }

    slice(): Phantom {
      return new Phantom(phantomBuffer(this.byteLength), 0, this.length);
    }

    fill(): this {
      return this;
    }

    set(): void {}

    /** There are no elements to be visited. */
    forEach(): void {}

    *[Symbol.iterator](): Generator<never> {}
  }
  Object.setPrototypeOf(Phantom.prototype, kind.prototype);
  return Phantom as unknown as ArrayViews<A>;
}

/** Phantoms by type. */
export const PHANTOMS = {
  f32: phantomsOf<Float32Array>(Float32Array),
  f64: phantomsOf<Float64Array>(Float64Array),
  bf16: phantomsOf<Uint16Array>(Uint16Array),
  i16: phantomsOf<Int16Array>(Int16Array),
  i32: phantomsOf<Int32Array>(Int32Array),
} as const;

/** Phantoms' types, as typed arrays. */
export type PhantomOf<Type extends keyof typeof PHANTOMS> = InstanceType<typeof PHANTOMS[Type]>;

/** One with a buffer of its own, or at the beginning of a given one. */
export function phantom<Type extends keyof typeof PHANTOMS>(
  type: Type,
  length: number,
  buffer?: ArrayBuffer,
): PhantomOf<Type> {
  const views = PHANTOMS[type] as ArrayViews<PhantomOf<Type>>;
  return new views(buffer ?? phantomBuffer(length * views.BYTES_PER_ELEMENT), 0, length);
}
