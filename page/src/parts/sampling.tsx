import type {JSX} from "preact";
import type {Sampling} from "../lib/request.ts";
import {useWords, type Words} from "../lib/words.ts";
import {NumberField} from "./field.tsx";

const en = {
  sampling: "Sampling",
  more: "More sampling settings",
  temperature: "Temperature",
  top_p: "Top p",
  top_k: "Top k",
  min_p: "Min p",
  repeat_penalty: "Repeat penalty",
  presence_penalty: "Presence penalty",
  frequency_penalty: "Frequency penalty",
  max_tokens: "Max tokens",
  seed: "Seed",
  noLimit: "context",
  random: "random",
};

const words: Words<typeof en> = {
  en,
  zh: {
    sampling: "采样",
    more: "更多采样设置",
    temperature: "温度",
    top_p: "Top p",
    top_k: "Top k",
    min_p: "Min p",
    repeat_penalty: "重复惩罚",
    presence_penalty: "存在惩罚",
    frequency_penalty: "频率惩罚",
    max_tokens: "最多词元数",
    seed: "随机种子",
    noLimit: "上下文",
    random: "随机",
  },
};

type Name = keyof Sampling;

// The ranges and defaults are those of openapi.yaml; an empty field is the default.
const ranges: Record<Name, {min: number; max: number; step: number | "any"; placeholder: string}> = {
  temperature: {min: 0, max: 2, step: 0.1, placeholder: "1"},
  max_tokens: {min: 1, max: 2147483647, step: 1, placeholder: ""},
  top_p: {min: 0, max: 1, step: 0.05, placeholder: "1"},
  top_k: {min: -1, max: 1000000, step: 1, placeholder: "0"},
  min_p: {min: 0, max: 1, step: 0.01, placeholder: "0"},
  seed: {min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER, step: 1, placeholder: ""},
  repeat_penalty: {min: 0.01, max: 10, step: "any", placeholder: "1"},
  presence_penalty: {min: -2, max: 2, step: 0.1, placeholder: "0"},
  frequency_penalty: {min: -2, max: 2, step: 0.1, placeholder: "0"},
};

const first: Name[] = ["temperature", "max_tokens"];
const rest: Name[] = ["top_p", "top_k", "min_p", "seed", "repeat_penalty", "presence_penalty", "frequency_penalty"];

// SamplingFields are the settings of sampling; an empty one is the server's default.
export function SamplingFields(p: {sampling: Sampling; onChange: (s: Sampling) => void}): JSX.Element {
  const w = useWords(words);
  const field = (name: Name): JSX.Element => (
    <NumberField
      key={name} label={w[name]} value={p.sampling[name]} {...ranges[name]} placeholder={name === "max_tokens" ? w.noLimit : name === "seed" ? w.random : ranges[name].placeholder}
      onInput={(value) => p.onChange({...p.sampling, [name]: value})}
    />
  );
  return (
    <fieldset class="picked">
      <legend class="visually-hidden">{w.sampling}</legend>
      <div class="pairs">{first.map(field)}</div>
      <details class="more">
        <summary>{w.more}</summary>
        <div class="pairs">{rest.map(field)}</div>
      </details>
    </fieldset>
  );
}
