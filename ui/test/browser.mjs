// Headless Chromium for the tests: a page that is logged in, what it complained of, screenshots.

import { mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { start } from './double.mjs'

const SHOTS = process.env.OVERTAP_SHOTS ?? fileURLToPath(new URL('../shots/', import.meta.url))
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
export const DESK = { width: 1360, height: 860 }
export const PHONE = { width: 390, height: 844 }

/** Chromium as Debian has it. */
export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
})

/** A double and a page of it, logged in unless told otherwise. */
export async function open(browser, { site = {}, size = DESK, scheme = 'light', token = 'ovtu_root', to = '#/topology', motion = 'no-preference' } = {}) {
  const double = await start(site)
  const context = await browser.newContext({ viewport: size, colorScheme: scheme, reducedMotion: motion, acceptDownloads: true })
  const page = await context.newPage()
  const complaints = []
  const elsewhere = []
  page.on('console', (message) => { if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complaints.push(message.text()) })
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('request', (request) => { if (!request.url().startsWith(double.url)) elsewhere.push(request.url()) })
  if (token) {
    const answer = await context.request.post(`${double.url}/api/v1/login`, { data: { token } })
    if (!answer.ok()) throw new Error(`not let in: ${answer.status()}`)
  }
  await page.goto(`${double.url}/${to}`)
  return {
    page, double, complaints, elsewhere,
    async close() {
      await context.close()
      await double.close()
    },
  }
}

/** Faults that keep people from using the page: those axe calls serious or critical. */
export async function faults(page) {
  // Not by a script element, which the page's policy refuses.
  if (!(await page.evaluate('typeof axe !== "undefined"'))) {
    const { readFile } = await import('node:fs/promises')
    await page.evaluate(await readFile(AXE, 'utf8'))
  }
  const { violations } = await page.evaluate('axe.run(document, { resultTypes: ["violations"] })')
  return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} (${node.any[0]?.message ?? node.failureSummary})`).join(' | ')}`)
}

/** What sticks out to the right of the window. */
export const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)

export async function shoot(page, name) {
  await mkdir(SHOTS, { recursive: true })
  await page.screenshot({ path: `${SHOTS}/${name}.png`, timeout: 8000 })
}
