import type {JSX} from "preact";
import {useEffect, useRef} from "preact/hooks";
import UPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import {clock} from "../lib/format.ts";
import {useLanguage, useShownTheme, type Language} from "../lib/settings.ts";
import {useWords} from "../lib/words.ts";
import {words} from "./words.ts";

export interface Series {
  name: string;
  values: (number | null)[]; // one for each of x; null: none there
  dashed?: boolean;
  digits?: number; // of the legend; 4 unless told
}

interface Props {
  title: string;
  x: number[]; // ascending
  xName: string;
  series: Series[];
  height?: number;
  time?: boolean; // x are Unix times in seconds
  fromZero?: boolean; // the y axis begins at 0
  max?: number; // the least upper end of the y axis, such as a bound
}

// wholes are the distances of an axis of whole numbers: 1, 2, 5, 10, 20 …
const wholes = Array.from({length: 27}, (_, i) => [1, 2, 5][i % 3]! * 10 ** Math.floor(i / 3));

// seconds are those of an axis of times.
const seconds = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400];

const token = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function options(p: Props, width: number, language: Language): UPlot.Options {
  const axis: UPlot.Axis = {
    stroke: token("--muted"), grid: {stroke: token("--line"), width: 1}, ticks: {stroke: token("--line"), width: 1}, font: "12px system-ui, sans-serif",
  };
  const times: UPlot.Axis = {...axis, space: 80, incrs: seconds, values: (_, at) => at.map((x) => clock(x, language))};
  return {
    width, height: p.height ?? 220,
    scales: {
      x: {time: p.time ?? false},
      y: {range: (_, low, high) => {
        const top = Math.max(high ?? 0, p.max ?? -Infinity);
        const bottom = p.fromZero ? 0 : (low ?? 0);
        const pad = (top - bottom || Math.abs(top) || 1) * 0.05;
        return [p.fromZero ? 0 : bottom - pad, top + pad];
      }},
    },
    axes: [
      p.time ? times : {...axis, incrs: wholes},
      {...axis, size: 56, values: (_, ticks) => ticks.map((v) => v.toLocaleString(document.documentElement.lang, {maximumSignificantDigits: 4}))},
    ],
    series: [
      {label: p.xName, ...(p.time ? {value: (_: UPlot, x: number | null) => (x === null ? "–" : clock(x, language))} : {})},
      ...p.series.map((s, i) => ({
        label: s.name, stroke: token(`--series-${(i % 8) + 1}`), width: 2, spanGaps: true, points: {show: p.x.length < 2},
        ...(s.dashed ? {dash: [6, 4]} : {}),
        value: (_: UPlot, v: number | null) => (v === null ? "–" : String(Number(v.toPrecision(s.digits ?? 4)))),
      })),
    ],
    cursor: {drag: {x: false, y: false}},
  };
}

// Plot draws lines over a common x with uPlot. It follows the width of its place and the theme. Screen readers get the
// title and the last values.
export function Plot(p: Props): JSX.Element {
  const w = useWords(words);
  const theme = useShownTheme();
  const language = useLanguage();
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | null>(null);
  const names = p.series.map((s) => s.name).join(", ");
  const shape = JSON.stringify([names, p.series.map((s) => s.dashed), p.xName, p.height, p.time, p.fromZero, p.max, theme, language, p.x.length < 2]);
  const data = [p.x, ...p.series.map((s) => s.values)] as UPlot.AlignedData;

  useEffect(() => {
    const at = place.current;
    if (at === null) return;
    const u = new UPlot(options(p, Math.max(200, at.clientWidth), language), data, at);
    plot.current = u;
    const watch = new ResizeObserver(() => u.setSize({width: Math.max(200, at.clientWidth), height: p.height ?? 220}));
    watch.observe(at);
    return () => {
      watch.disconnect();
      u.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => plot.current?.setData(data), [data]);

  const last = p.series.map((s) => `${s.name} ${s.values.findLast((v) => v !== null)?.toPrecision(4) ?? "–"}`).join(", ");
  return (
    <figure class="plot">
      <figcaption>{p.title}</figcaption>
      <div ref={place} role="img" aria-label={`${w.plotOf(p.title, names)}. ${last}`} />
    </figure>
  );
}
