// Types as applications write them with zod. With no input, their schemas are printed as JSON; with answers on standard
// input, {name: [text, ...]}, each is parsed with its type, and faults are printed.
import { readFileSync } from "node:fs";
const { z } = await import("zod");

const address = z.object({ street: z.string().min(1).max(80), zip: z.string().regex(/^\d{5}(-\d{4})?$/), country: z.enum(["DE", "FR", "US"]) });
const category = z.object({ name: z.string().max(20), get children() { return z.array(category).max(2); } });
const json = z.lazy(() => z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(json).max(2), z.record(z.string(), json)]));

const types = {
  person: z.object({ name: z.string(), age: z.int().min(0).max(150), email: z.email(), admin: z.boolean().optional() }),
  strict: z.strictObject({ a: z.number().positive().lt(1), b: z.number().multipleOf(0.5).min(-4).max(4) }),
  loose: z.looseObject({ id: z.uuid() }),
  catchall: z.object({ id: z.uuidv4() }).catchall(z.number().int()),
  event: z.discriminatedUnion("type", [
    z.object({ type: z.literal("click"), x: z.int32(), y: z.uint32() }),
    z.object({ type: z.literal("key"), key: z.string().length(1) }),
    z.object({ type: z.literal("scroll"), by: z.float32() }),
  ]),
  order: z.object({ id: z.string().regex(/^[A-Z]{2}-[0-9]{6}$/), lines: z.array(z.object({ sku: z.string().max(12), count: z.int().positive(), price: z.number().nonnegative() })).min(1).max(3), to: address }),
  tuple: z.tuple([z.string().max(5), z.int(), z.boolean().nullable()]),
  tupleRest: z.tuple([z.literal(1)]).rest(z.enum(["a", "b"])),
  record: z.record(z.string().min(2).max(8), z.object({ ok: z.boolean() })),
  enumRecord: z.record(z.enum(["small", "medium", "large"]), z.int().min(0)),
  partialRecord: z.partialRecord(z.enum(["red", "green"]), z.number()),
  category,
  json,
  dates: z.object({ at: z.iso.datetime(), day: z.iso.date(), time: z.iso.time(), length: z.iso.duration() }),
  network: z.object({ v4: z.ipv4(), v6: z.ipv6(), url: z.url(), host: z.hostname().optional(), cidr: z.cidrv4() }),
  ids: z.object({ cuid: z.cuid2(), ulid: z.ulid(), nano: z.nanoid(), base64: z.base64(), jwt: z.string().startsWith("ey").endsWith("x").includes(".") }),
  both: z.intersection(z.looseObject({ a: z.int() }), z.looseObject({ b: z.string().max(4) })),
  defaults: z.object({ size: z.enum(["s", "m"]).default("m"), note: z.string().nullish(), tags: z.array(z.string().max(6)).max(3).default([]) }),
  nullable: z.object({ value: z.union([z.string().min(3).max(9), z.number().int(), z.null()]), kind: z.literal(["one", "two", 3]) }),
  text: z.object({ slug: z.string().regex(/^[a-z0-9]+(?:-[a-z0-9]+)*$/).max(20), hex: z.hex().length(6), upper: z.string().regex(/^[A-Z]+$/), template: z.templateLiteral(["v", z.int().min(1).max(9), ".", z.enum(["x", "y"])]) }),
  answer: z.object({ steps: z.array(z.object({ explanation: z.string(), output: z.string() })), final_answer: z.string() }),
};

if (process.argv[2] === "parse") {
  const answers = JSON.parse(readFileSync(process.argv[3], "utf8"));
  for (const [name, texts] of Object.entries(answers)) {
    for (const text of texts) {
      const result = types[name].safeParse(JSON.parse(text));
      if (!result.success) console.log(`${name}: ${text}: ${JSON.stringify(result.error.issues)}`);
    }
  }
} else {
  const out = {};
  for (const [name, type] of Object.entries(types)) {
    out[name] = z.toJSONSchema(type);
    out[name + " as input"] = z.toJSONSchema(type, { io: "input", target: "draft-7" });
  }
  console.log(JSON.stringify(out));
}
