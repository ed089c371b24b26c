import type {Words} from "./lib/words.ts";

const en = {
  skip: "Skip to the content",
  navigation: "Views",
  language: "Language",
  theme: "Colours",
  light: "Light",
  dark: "Dark",
  apiKey: "API key",
  keyTitle: "API key",
  keyNeeded: "This server asks for an API key. It is kept in this tab until the tab is closed.",
  keyKept: "It is kept in this tab until the tab is closed, and sent to this server alone.",
  keySave: "Use this key",
  keyForget: "Forget it",
  api: "API",
  licences: "Licences",
  home: "Lorikeet: start",
  unknown: "There is no such view.",
};

export const words: Words<typeof en> = {
  en,
  zh: {
    skip: "跳到内容",
    navigation: "视图",
    language: "语言",
    theme: "配色",
    light: "浅色",
    dark: "深色",
    apiKey: "API 密钥",
    keyTitle: "API 密钥",
    keyNeeded: "此服务器需要 API 密钥。密钥只保存在此标签页中,关闭标签页即清除。",
    keyKept: "密钥只保存在此标签页中,关闭标签页即清除,并且只发送给此服务器。",
    keySave: "使用此密钥",
    keyForget: "清除密钥",
    api: "API",
    licences: "许可证",
    home: "Lorikeet:首页",
    unknown: "没有这个视图。",
  },
};
