import type {Words} from "../lib/words.ts";

// The words of the shared parts.
const en = {
  close: "Close",
  cancel: "Cancel",
  copy: "Copy",
  copied: "Copied",
  loading: "Loading …",
  retry: "Try again",
  dismiss: "Dismiss",
  field: (name: string) => `Field: ${name}`,
  request: (id: string) => `Request ${id}`,
  noMatch: "Nothing has this name.",
  base: "Base model",
  version: "version",
  checkpoint: (job: string, loss: string) => `checkpoint of ${job}, loss ${loss}`,
  chooseFiles: "Choose files",
  chooseFolder: "Choose a folder",
  plotOf: (title: string, series: string) => `${title}: plot of ${series}`,
};

export const words: Words<typeof en> = {
  en,
  zh: {
    close: "关闭",
    cancel: "取消",
    copy: "复制",
    copied: "已复制",
    loading: "正在加载…",
    retry: "重试",
    dismiss: "关闭提示",
    field: (name) => `字段:${name}`,
    request: (id) => `请求 ${id}`,
    noMatch: "没有匹配的名称。",
    base: "基础模型",
    version: "版本",
    checkpoint: (job, loss) => `${job} 的检查点,损失 ${loss}`,
    chooseFiles: "选择文件",
    chooseFolder: "选择文件夹",
    plotOf: (title, series) => `${title}:${series} 的曲线图`,
  },
};
