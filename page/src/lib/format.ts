import type {Language} from "./settings.ts";

// Numbers and times as the reader's language writes them.

const tags: Record<Language, string> = {en: "en", zh: "zh-CN"};

export function number(value: number, language: Language, digits = 0): string {
  return new Intl.NumberFormat(tags[language], {maximumFractionDigits: digits, minimumFractionDigits: digits}).format(value);
}

// significant writes a number of any size with three digits that say something.
export function significant(value: number, language: Language): string {
  return new Intl.NumberFormat(tags[language], {maximumSignificantDigits: 3}).format(value);
}

// compact writes 12,300 as 12.3K.
export function compact(value: number, language: Language): string {
  return new Intl.NumberFormat(tags[language], {notation: "compact", maximumFractionDigits: 1}).format(value);
}

export function percent(part: number, language: Language): string {
  return new Intl.NumberFormat(tags[language], {style: "percent", maximumFractionDigits: 0}).format(part);
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(value: number, language: Language): string {
  let i = 0;
  let rest = value;
  while (rest >= 1024 && i < units.length - 1) {
    rest /= 1024;
    i++;
  }
  return `${number(rest, language, i === 0 || rest >= 100 ? 0 : 1)} ${units[i] ?? ""}`;
}

// duration writes seconds as 350 ms, 4.2 s, 3 min 20 s or 2 h 5 min.
export function duration(seconds: number, language: Language): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 1) return `${number(seconds * 1000, language)} ms`;
  if (seconds < 60) return `${number(seconds, language, seconds < 10 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

// moment writes a Unix time in seconds.
export function moment(unix: number, language: Language): string {
  return new Intl.DateTimeFormat(tags[language], {dateStyle: "medium", timeStyle: "short"}).format(unix * 1000);
}

// clock writes the time of day of a Unix time in seconds.
export function clock(unix: number, language: Language): string {
  return new Intl.DateTimeFormat(tags[language], {hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"}).format(unix * 1000);
}
