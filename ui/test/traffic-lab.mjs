// Somebody at a browser, in the lab, who looks at the traffic of the last hour.
//
//     node ui/test/traffic-lab.mjs URL TOKEN
//
// Says on standard output what the page says, one JSON object: the talkers with their bytes, the split, and how many flows are
// behind the first number. Ends with status 1 and the browser's
// complaints if there were any.

import { DESK, faults, launch, shoot } from './browser.mjs'

const [url, token] = process.argv.slice(2)
const browser = await launch()
const page = await (await browser.newContext({ viewport: DESK })).newPage()
page.setDefaultTimeout(20_000)
const complaints = []
page.on('console', (message) => { if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complaints.push(message.text()) })
page.on('pageerror', (error) => complaints.push(String(error)))
page.on('request', (request) => { if (!request.url().startsWith(url)) complaints.push(`it asked ${request.url()}`) })
const picture = (name) => shoot(page, name).catch(() => {})
const texts = (locator) => locator.evaluateAll((all) => all.map((it) => it.textContent.trim()))
try {
  await page.goto(`${url}/#/traffic`)
  await page.getByLabel('Token').fill(token)
  await page.keyboard.press('Enter')
  const rows = page.locator('.talkers tbody tr')
  await rows.first().waitFor()
  await page.locator('.matrix').waitFor()
  await picture('lab-traffic')
  complaints.push(...await faults(page))
  const names = await texts(rows.locator('td:nth-child(1)'))
  const octets = await texts(rows.locator('td:nth-child(2)'))
  const split = await texts(page.locator('.split-parts dd:first-of-type a'))
  await rows.first().locator('td.number a').first().click()
  const flows = page.getByRole('region', { name: 'Flows' }).locator('tbody tr')
  await flows.first().waitFor()
  await picture('lab-traffic-flows')
  const behind = await flows.count()
  console.log(JSON.stringify({ names, octets, split, behind }))
} catch (error) {
  await picture('lab-traffic-failed')
  complaints.push(String(error))
} finally {
  await browser.close()
}
for (const complaint of complaints) console.error(complaint)
process.exitCode = complaints.length ? 1 : 0
