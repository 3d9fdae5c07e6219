// Somebody at a browser, in the lab: finds a machine, captures it, watches it move, stops, downloads.
//
//     node ui/test/lab.mjs URL TOKEN MACHINE FILE
//
// Says on standard output what is seen, a line each: `capturing`, `at HOST`, `packets N`, `downloaded`. The word
// `stop` on standard input ends the capture. Ends with status 1 and the browser's complaints if there were any.

import { createInterface } from 'node:readline'
import { DESK, faults, launch, shoot } from './browser.mjs'

/** A picture for people; a browser that is slow to make one fails nothing. */
const picture = (page, name) => shoot(page, name).catch(() => {})

const [url, token, name, file] = process.argv.slice(2)
const browser = await launch()
// The controller's own authority is not one that browsers know.
const context = await browser.newContext({ viewport: DESK, ignoreHTTPSErrors: true, acceptDownloads: true })
const complaints = []
let watching

async function tab() {
  const page = await context.newPage()
  page.setDefaultTimeout(15_000)
  page.on('console', (message) => { if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complaints.push(message.text()) })
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('request', (request) => { if (!request.url().startsWith(url)) complaints.push(`it asked ${request.url()}`) })
  return page
}

try {
  const page = await tab()
  await page.goto(`${url}/`)
  await page.getByLabel('Token').fill(token)
  await page.keyboard.press('Enter')
  await page.locator('.tile').first().waitFor()
  await picture(page, 'lab-topology')
  await page.keyboard.press('/')
  await page.keyboard.type(name)
  await page.getByRole('option').first().waitFor()
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { level: 1, name, exact: true }).waitFor()
  await page.locator('.places li').first().waitFor()
  complaints.push(...await faults(page))
  await picture(page, 'lab-machine')

  const beside = await tab()
  await beside.goto(page.url())
  await page.bringToFront()
  const place = beside.locator('.sums b').first()
  let last = ''
  watching = setInterval(async () => {
    const host = await place.textContent().catch(() => last)
    if (host && host !== last) {
      last = host
      console.log(`at ${host}`)
    }
  }, 50)

  await page.getByRole('link', { name: 'Capture', exact: true }).click()
  await page.getByRole('button', { name: 'Start capture' }).click()
  await page.locator('.packets tbody tr').first().waitFor()
  console.log('capturing')
  await new Promise((stopped) => createInterface({ input: process.stdin }).on('line', stopped).on('close', stopped))
  console.log(`packets ${await page.locator('.packets tbody tr').count()}`)
  await picture(page, 'lab-capture')
  await page.getByRole('button', { name: 'Stop' }).click()
  await page.locator('.receipt').waitFor()
  await picture(page, 'lab-receipt')
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download' }).click()])
  await download.saveAs(file)
  console.log('downloaded')
} catch (error) {
  complaints.push(String(error))
} finally {
  clearInterval(watching)
  await browser.close()
}
for (const complaint of complaints) console.error(complaint)
process.exitCode = complaints.length ? 1 : 0
