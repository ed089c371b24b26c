import type {JSX} from "preact";

// Line icons of 16 by 16; a path each. The text or label beside them says what they mean.
function icon(path: string): JSX.Element {
  return (
    <svg viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

export const icons = {
  close: () => icon("M4 4l8 8M12 4l-8 8"),
  copy: () => icon("M6 6h7v7H6zM10 6V3H3v7h3"),
  send: () => icon("M8 13V3M3.5 7.5L8 3l4.5 4.5"),
  stop: () => icon("M4.5 4.5h7v7h-7z"),
  retry: () => icon("M13 8a5 5 0 1 1-1.5-3.5M13 2v3h-3"),
  edit: () => icon("M3 13l.7-3L10.5 3.2l2.3 2.3L6 12.3z"),
  remove: () => icon("M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.5 8.5h6l.5-8.5"),
  add: () => icon("M8 3v10M3 8h10"),
  key: () => icon("M9.5 6.5a3 3 0 1 0-1 1l4.5 4.5v-2M11 10l1.5-1.5"),
  sun: () => icon("M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M3.4 12.6l.7-.7M11.9 4.1l.7-.7"),
  moon: () => icon("M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z"),
  globe: () => icon("M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2M2 8h12M8 2c2 2 2.5 4 2.5 6S10 12 8 14M8 2C6 4 5.5 6 5.5 8S6 12 8 14"),
  download: () => icon("M8 2.5v7.5M4.5 7L8 10.5 11.5 7M3 13.5h10"),
  upload: () => icon("M8 11V3M4.5 6.5L8 3l3.5 3.5M3 13.5h10"),
  settings: () => icon("M2.5 5h6M11.5 5h2M8.5 3.5v3M2.5 11h2M7.5 11h6M7.5 9.5v3"),
};
