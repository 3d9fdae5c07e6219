//! Numbers and times as people read them.

const NUMBER = new Intl.NumberFormat('en', { useGrouping: true })

/** `148 213`: thin spaces, as the receipt on a terminal has blanks. */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? '–' : NUMBER.format(value).replaceAll(',', '\u202f')
}

/** `one packet`, `2 packets`. */
export const counted = (value: number, one: string, many = `${one}s`): string => `${count(value)} ${value === 1 ? one : many}`

export function bytes(value: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** A rate: `12.4 Mb/s`. */
export function bits(value: number): string {
  const units = ['b/s', 'kb/s', 'Mb/s', 'Gb/s', 'Tb/s']
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${value >= 100 || Number.isInteger(value) ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** `3 d 4 h`, `12 min`, `8 s`: the two largest units at most. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds))
  if (s < 60) return `${s} s`
  if (s < 3600) return s % 60 && s < 600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 60)} min`
  if (s < 86_400) return `${Math.floor(s / 3600)} h${Math.floor((s % 3600) / 60) ? ` ${Math.floor((s % 3600) / 60)} min` : ''}`
  const hours = Math.floor((s % 86_400) / 3600)
  return `${Math.floor(s / 86_400)} d${hours ? ` ${hours} h` : ''}`
}

/** `0.31 ms`, `431 ms`, `12.1 s`. */
export function millis(ms: number): string {
  const size = Math.abs(ms)
  if (size >= 10_000) return `${(ms / 1000).toFixed(1)} s`
  if (size >= 100) return `${Math.round(ms)} ms`
  return `${ms.toFixed(size >= 10 ? 1 : 2)} ms`
}

/** `10:03:07` today, `21 Nov 10:03:07` before; local time. */
export function when(ms: number): string {
  const time = new Date(ms)
  if (Number.isNaN(ms)) return '–'
  const clock = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`
  if (time.toDateString() === new Date().toDateString()) return clock
  const year = time.getFullYear() === new Date().getFullYear() ? '' : ` ${time.getFullYear()}`
  return `${time.getDate()} ${MONTHS[time.getMonth()]}${year} ${clock}`
}

/** `10:03:07.123456`: as long as what was said has digits. */
export function clock(rfc3339: string): string {
  const time = new Date(rfc3339)
  const digits = /\.(\d{1,6})/.exec(rfc3339)?.[1] ?? ''
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${digits.padEnd(6, '0')}`
}

/** `3 min ago`. */
export const ago = (ms: number, now = Date.now()): string => (now - ms < 2000 ? 'just now' : `${span((now - ms) / 1000)} ago`)

/** For `<input type=datetime-local step=1>`. */
export function local(ms: number): string {
  const time = new Date(ms)
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}T${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`
}

/** RFC 3339 in UTC, whole seconds. */
export const utc = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')

/** What was asked for, as a person knows it: names of the machines where they were asked for by id. */
export function asked(session: { what: string[]; parts: { machine: string; machine_id: string }[] }): string {
  const names = new Map(session.parts.flatMap((part) => [[part.machine_id, part.machine], [part.machine_id.replace(/^uuid:/, ''), part.machine]]))
  return session.what.map((what) => names.get(what) ?? what).join(', ')
}

/** One word of a shell, whatever is in it. */
export const quoted = (word: string): string => (/^[\w.:/@-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)

const two = (value: number) => String(value).padStart(2, '0')
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
